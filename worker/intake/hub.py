"""A part of a data set from the Hub, as one file. Which part is asked, where there are several."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from worker.child import Child, JobError
from worker.intake.hubparts import Part, chosen, converted_parts, parts_of
from worker.intake.joining import join
from worker.trainer.hub import download_all
from worker.trainer.specs import HubFetch

#: Where the Hub keeps its own copy of a data set as Parquet.
_CONVERTED = "refs/convert/parquet"
_REVISION = "Check the branch, tag or commit, or leave it empty."


@dataclass(frozen=True)
class Found:
    """What a repository holds at a commit."""

    commit: str
    sizes: dict[str, int]
    parts: list[Part]
    #: It is the Hub's own copy, whose parts its folders name.
    converted: bool = False


def find(wish: HubFetch, child: Child) -> Found:
    """All parts. Raises `JobError` with a sentence that says what to do."""
    if wish.offline:
        raise JobError(
            "hub_unreachable", "This worker never contacts the Hub (TUNEDECK_HUB__OFFLINE).", "Upload the file."
        )
    child.events.phase("asking the Hub", detail=wish.repo_id)
    try:
        return _find(HfApi(endpoint=_endpoint(), token=_token(child)), wish)
    except _TROUBLES as exc:
        raise explained(exc, wish) from exc


def _find(api: HfApi, wish: HubFetch) -> Found:
    info = api.dataset_info(wish.repo_id, revision=wish.revision or None, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    if wish.converted or wish.revision == _CONVERTED:
        return Found(str(info.sha), sizes, converted_parts(sizes), converted=True)
    card: dict[str, Any] = dict(vars(info.card_data)) if info.card_data else {}
    found = Found(str(info.sha), sizes, parts_of(sizes, card))
    if found.parts or wish.revision:
        return found
    try:  # files of other kinds, perhaps made by a script: the Hub has a copy of most
        copy = api.dataset_info(wish.repo_id, revision=_CONVERTED, files_metadata=True)
    except RevisionNotFoundError:
        return found
    sizes = {file.rfilename: file.size or 0 for file in copy.siblings or []}
    return Found(str(copy.sha), sizes, converted_parts(sizes), converted=True)


def choose(found: Found, wish: HubFetch) -> list[Part]:
    """The part that is wished for, or all among which to choose. Raises `JobError`: there is none like it."""
    if not found.parts:
        message = f"{wish.repo_id} holds no file that can be read (.jsonl, .json, .csv, .tsv, .parquet)."
        raise JobError("bad_data", message, "Choose another data set, or download its files and upload them.")
    left = chosen(found.parts, wish.config, wish.split)
    if not left:
        there = ", ".join(f"{part.config} / {part.split}" for part in found.parts[:12])
        asked = " / ".join(name for name in (wish.config, wish.split) if name)
        message = f"{wish.repo_id} has no part “{asked}”."
        raise JobError("bad_data", message, f"It has: {there}. Leave both empty to be asked.")
    return left


def described(found: Found, parts: list[Part]) -> list[dict[str, Any]]:
    """The parts as a page shows them."""
    return [
        {
            "config": part.config,
            "split": part.split,
            "files": len(part.files),
            "size": sum(found.sizes[name] for name in part.files),
        }
        for part in parts
    ]


def fetch(wish: HubFetch, found: Found, part: Part, child: Child, folder: Path, out: Path) -> str:
    """Download the files into `folder`, and make one of them: its name. Raises `JobError`, `FormatError`."""
    sizes = {name: found.sizes[name] for name in part.files}
    try:
        download_all(wish.repo_id, found.commit, sizes, folder, _token(child), child, repo_type="dataset")
    except _TROUBLES as exc:
        raise explained(exc, wish) from exc
    files = [folder / name for name in part.files]
    if len(files) == 1:
        files[0].replace(out)
        return files[0].name
    child.events.phase("joining", detail=f"{len(files)} files")
    return f"{part.config}-{part.split}" + join(files, out, wish.max_unpacked, child.stop_point)


def _token(child: Child) -> str | None:
    return child.secrets.get("hub_token") or None


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


_TROUBLES = (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, httpx.HTTPError)


def explained(exc: BaseException, wish: HubFetch) -> JobError:
    """In words."""
    name = wish.repo_id
    if isinstance(exc, GatedRepoError):
        message = f"{name} asks for its terms to be accepted before it can be downloaded."
        return JobError("gated_model", message, f"Accept them on its page on the Hub. {_a_token(wish)}")
    if isinstance(exc, RevisionNotFoundError):
        return JobError("bad_data", f"{name} has no revision “{wish.revision}”.", _REVISION)
    if isinstance(exc, (RepositoryNotFoundError, HFValidationError)):
        message = f"The Hub has no data set named {name}, or it is private."
        return JobError("bad_data", message, f"Check the name. {_a_token(wish)}")
    status = exc.response.status_code if isinstance(exc, HfHubHTTPError) and exc.response is not None else 0
    if status in {401, 403}:
        message = "The Hub does not accept the stored token."
        return JobError(
            "hub_refused", message, "Store a valid Hub token in Settings, or remove it to fetch what is public."
        )
    kind = type(exc).__name__
    return JobError(
        "hub_unreachable",
        f"The Hub has trouble of its own ({status})." if status else f"The Hub could not be reached: {kind}.",
        "Check the connection of the worker and fetch it again: the download goes on where it stopped.",
    )


def _a_token(wish: HubFetch) -> str:
    if wish.with_token:
        return "For a private one, store a Hub token that may read it in Settings, then fetch it again."
    return "It was asked for without the stored Hub token, which is not yours to use: ask an administrator to fetch it."
