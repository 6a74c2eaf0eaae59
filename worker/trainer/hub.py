"""Fetching a model from the Hub: whole or not at all, going on where a broken download stopped."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import httpx
from huggingface_hub import HfApi, hf_hub_download
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
from worker.trainer import foreign_code
from worker.trainer.specs import ModelSpec

_SETTINGS = {".json", ".jinja", ".txt", ".model"}
#: Free bytes that must stay on the disk after a download.
_MARGIN = 512 * 2**20
_LOOK_EVERY = 0.5


def fetch(model: ModelSpec, folder: Path, child: Child, *, tokenizer_only: bool) -> Path:
    """Download `model` into `folder`. Raises `JobError`; `Stopped` when asked to stop."""
    token = child.secrets.get("hub_token") or None
    part = folder.with_name(folder.name + ".part")
    try:
        sha, sizes = _wanted(model, token, tokenizer_only=tokenizer_only)
        check_space(sizes, part)
        if "config.json" in sizes:  # what needs code that may not run is told before gigabytes have come
            hf_hub_download(
                model.base_model, "config.json", revision=sha, local_dir=part, token=token, endpoint=_endpoint()
            )
            foreign_code.check(part, model)
        download_all(model.base_model, sha, sizes, part, token, child)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, httpx.HTTPError) as exc:
        raise _explained(exc, model.base_model) from exc
    shutil.rmtree(part / ".cache", ignore_errors=True)
    part.rename(folder)
    return folder


def _wanted(model: ModelSpec, token: str | None, *, tokenizer_only: bool) -> tuple[str, dict[str, int]]:
    """The commit, and the files to fetch with their sizes in bytes."""
    info = HfApi(endpoint=_endpoint(), token=token).model_info(
        model.base_model, revision=model.revision or None, files_metadata=True
    )
    files = {file.rfilename: file.size or 0 for file in info.siblings or []}
    weights = {name: size for name, size in files.items() if _is_weights(name)}
    if not weights:
        raise JobError(
            "not_supported",
            f"{model.base_model} has no safetensors weights.",
            "Other kinds of weight files can carry code and are never loaded. Choose a model with safetensors files.",
        )
    wanted = _SETTINGS
    if foreign_code.is_allowed(model):
        _must_be(str(info.sha), model)
        wanted = _SETTINGS | {".py"}
    settings = {name: size for name, size in files.items() if _is_setting(name, wanted)}
    return str(info.sha), settings if tokenizer_only else settings | weights


def _endpoint() -> str | None:
    """Read at the call: the library reads it at import only."""
    return os.environ.get("HF_ENDPOINT") or None


def _must_be(sha: str, model: ModelSpec) -> None:
    """A branch can be named like a commit."""
    if sha != model.revision:
        raise JobError(
            "model_not_found",
            f"The Hub gave the commit {sha[:40]} of {model.base_model}, not the one whose code was allowed.",
            "Look at the repository on the Hub, and allow the code at a commit of it.",
        )


def _is_setting(name: str, endings: set[str]) -> bool:
    """At the top; what makes an adapter of a model's folder is left out, for it names a base model of its own."""
    return "/" not in name and Path(name).suffix in endings and name != "adapter_config.json"


def _is_weights(name: str) -> bool:
    """Safetensors at the top; some repositories carry the same weights again as `consolidated`."""
    return "/" not in name and name.endswith(".safetensors") and not name.startswith("consolidated")


def check_space(sizes: dict[str, int], part: Path) -> None:
    missing = sum(sizes.values()) - _present(part)
    free = shutil.disk_usage(part.parent).free
    if missing + _MARGIN > free:
        raise JobError(
            "disk_full",
            f"The model needs {missing / 1e9:.1f} GB more, and the disk has {free / 1e9:.1f} GB free.",
            "Free some space, or choose a smaller model.",
        )


def download_all(
    repo: str, sha: str, sizes: dict[str, int], part: Path, token: str | None, child: Child, repo_type: str = "model"
) -> None:
    """Fetch in a thread that dies with the process, so that a cancelled download never holds it up."""
    failure: list[BaseException] = []

    def work() -> None:
        try:
            for name in sorted(sizes, key=lambda n: (sizes[n], n)):
                hf_hub_download(
                    repo, name, repo_type=repo_type, revision=sha, local_dir=part, token=token, endpoint=_endpoint()
                )
        except BaseException as exc:  # noqa: BLE001 - handed to the waiting thread
            failure.append(exc)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    total = sum(sizes.values())
    child.events.phase("downloading", done=0, total=total, unit="bytes", detail=repo)
    while thread.is_alive():
        thread.join(_LOOK_EVERY)
        child.stop_point()
        child.events.phase("downloading", done=min(_present(part), total), total=total, unit="bytes", detail=repo)
    if failure:
        raise failure[0]


def _present(part: Path) -> int:
    """Bytes already here, of finished and of unfinished files."""
    return sum(file.stat().st_size for file in part.rglob("*") if file.is_file() and file.suffix != ".metadata")


def _explained(exc: BaseException, name: str) -> JobError:
    if isinstance(exc, GatedRepoError):
        return JobError(
            "gated_model",
            f"{name} asks for its terms to be accepted before it can be downloaded.",
            "Accept them on the model's page on the Hub, then store a Hub token of that account in the settings.",
        )
    if isinstance(exc, RevisionNotFoundError):
        return JobError("model_not_found", f"{name} has no such revision.", "Check the revision, or leave it empty.")
    if isinstance(exc, (RepositoryNotFoundError, HFValidationError)):
        return JobError(
            "model_not_found",
            f"The Hub has no model named {name}, or it is private.",
            "Check the name. For a private model, store a Hub token that may read it in the settings.",
        )
    if isinstance(exc, HfHubHTTPError) and exc.response.status_code in {401, 403}:
        return JobError(
            "hub_refused",
            "The Hub does not accept the stored token.",
            "Store a valid Hub token in the settings, or remove it to fetch public models.",
        )
    return JobError(
        "hub_unreachable",
        f"The Hub could not be reached: {type(exc).__name__}.",
        "Check the connection of this worker and start again: the download goes on where it stopped. "
        "Or choose a model that is already here.",
    )
