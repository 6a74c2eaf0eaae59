"""Sends artifacts to a repository on the Hugging Face Hub, in one commit, with a model card."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils._validators import validate_repo_id

from worker.child import Child, JobError
from worker.export import ollama, tool
from worker.export.card import BASE, model_card
from worker.export.files import MANIFEST
from worker.trainer.protocol import Result
from worker.trainer.specs import PushFile, PushSpec

_NOT_PUSHED = frozenset({MANIFEST, "README.md"})
_MAKE_TOKEN = f"Make one with write permission at {constants.ENDPOINT}/settings/tokens and put it into the settings."


class _Counted(io.BufferedReader):
    """A file that tells how much of it was read, and stops the upload when the job is stopped.

    Handing huggingface_hub open files also keeps it from Xet, which self-hosted Hubs lack.
    """

    def __init__(self, path: Path, meter: _Meter) -> None:
        super().__init__(io.FileIO(path))
        self._meter = meter

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._meter.add(len(data))
        return data


class _Meter:
    """Bytes sent by all files together. Hashing reads them once before; that is not counted."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._progress = tool.Progress(child, "uploading", "bytes")
        self._lock = threading.Lock()
        self._done = 0
        self.total = 0
        self.counting = False

    def add(self, count: int) -> None:
        self._child.stop_point()
        if not self.counting:
            return
        with self._lock:
            self._done = min(self.total, self._done + count)
            self._progress.to(self._done, self.total)


def push(child: Child, spec: PushSpec) -> None:
    """Upload everything in `spec`. Raises `JobError` with a sentence for the person."""
    child.events.phase("preparing")
    _check_name(spec.repo_id)
    _check_files(spec)
    token = child.secrets.get("hub_token")
    if not token:
        raise JobError("hub_refused", "There is no Hub token to push with.", _MAKE_TOKEN)
    api = HfApi(token=token, library_name="tunedeck")
    with _in_words(spec.repo_id):
        repo_id = _full_name(api, spec.repo_id)
        child.stop_point()
        api.create_repo(repo_id, private=spec.private, exist_ok=True)
        commit = _upload(child, api, spec, repo_id)
        private = bool(api.model_info(repo_id).private)
    url = f"{api.endpoint}/{repo_id}"
    child.events.log(f"Pushed to {url} ({'private' if private else 'public'}).")
    child.events.emit(Result(payload={"url": url, "repo_id": repo_id, "commit": commit, "private": private}))


def _check_name(repo_id: str) -> None:
    try:
        validate_repo_id(repo_id)
    except HFValidationError as exc:
        raise JobError(
            "hub_refused",
            f"“{repo_id}” can't be the name of a repository.",
            "Write it as user/name, with letters, digits, “-”, “_” and “.”, at most 96 of them.",
        ) from exc


def _check_files(spec: PushSpec) -> None:
    missing = [str(file.path) for file in spec.files if not file.path.exists()]
    if missing or not spec.files:
        raise JobError(
            "bad_data", f"Nothing to push: {', '.join(missing) or 'no artifact was chosen'}.", "Export again."
        )


def _full_name(api: HfApi, repo_id: str) -> str:
    """Ask who we are: a useless token or a foreign namespace is found before a byte is sent."""
    me = api.whoami()
    role = me.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise JobError(
            "hub_refused", "The Hub token may only read; a push needs a token with write permission.", _MAKE_TOKEN
        )
    owner, _, name = repo_id.rpartition("/")
    mine = [me["name"], *(org["name"] for org in me.get("orgs", []))]
    if owner and owner not in mine:
        raise JobError(
            "hub_refused",
            f"The Hub token belongs to {me['name']}, who can't create repositories under “{owner}”.",
            f"Push to {me['name']}/{name}, or use a token of a member of {owner}.",
        )
    return f"{owner or me['name']}/{name}"


def _upload(child: Child, api: HfApi, spec: PushSpec, repo_id: str) -> str:
    child.events.phase("uploading", detail="hashing")
    with ExitStack() as opened:
        meter = _Meter(child)
        operations = list(_operations(spec, repo_id, meter, opened))
        meter.total = sum(op.upload_info.size for op in operations)
        meter.counting = True
        child.events.phase("uploading", 0, meter.total, "bytes")
        done = api.create_commit(repo_id, operations, commit_message="Add a fine-tuned model from Tunedeck")
    child.events.phase("uploading", meter.total, meter.total, "bytes")
    return str(done.oid)


def _operations(spec: PushSpec, repo_id: str, meter: _Meter, opened: ExitStack) -> Iterator[CommitOperationAdd]:
    """Merged and GGUF files lie at the top; the adapter too, unless a merged model is there to be loaded instead."""
    both = {"adapter", "merged"} <= {file.artifact for file in spec.files}
    names = []
    for file in spec.files:
        if file.artifact == "gguf":
            names.append(file.path.name)
            yield _add(file.path.name, file.path, meter, opened)
        else:
            yield from _folder(file, "adapter/" if both and file.artifact == "adapter" else "", spec, meter, opened)
    for name, text in _ollama(spec).items():
        yield CommitOperationAdd(name, text.encode())
    yield CommitOperationAdd("README.md", model_card(spec, repo_id, names).encode())


def _add(name: str, path: Path, meter: _Meter, opened: ExitStack) -> CommitOperationAdd:
    return CommitOperationAdd(name, opened.enter_context(_Counted(path, meter)))


def _folder(
    file: PushFile, prefix: str, spec: PushSpec, meter: _Meter, opened: ExitStack
) -> Iterator[CommitOperationAdd]:
    for path in sorted(p for p in file.path.rglob("*") if p.is_file() and p.name not in _NOT_PUSHED):
        name = prefix + path.relative_to(file.path).as_posix()
        if path.name == "adapter_config.json":
            yield CommitOperationAdd(name, _adapter_config(path, spec))
        else:
            yield _add(name, path, meter, opened)


def _adapter_config(path: Path, spec: PushSpec) -> bytes:
    """PEFT wrote the folder the base was loaded from; elsewhere only the base's name on the Hub helps."""
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if base := spec.card.get(BASE):
        config["base_model_name_or_path"] = str(base)
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()


def _ollama(spec: PushSpec) -> dict[str, str]:
    """A Modelfile for each GGUF; `template` and `params` once, as `ollama run hf.co/…` reads them."""
    out: dict[str, str] = {}
    for file in spec.files:
        if file.artifact == "gguf":
            found = ollama.ollama_files(file.path)
            out[file.path.name.removesuffix(".gguf") + ollama.MODELFILE] = found.modelfile
            out["params"] = found.params
            if found.template is not None:
                out["template"] = found.template
    return out


@contextmanager
def _in_words(repo_id: str) -> Iterator[None]:
    """The Hub's refusals as `JobError`."""
    try:
        yield
    except HfHubHTTPError as exc:
        raise _refused(exc, repo_id) from exc
    except (httpx.TransportError, OfflineModeIsEnabled, ConnectionError) as exc:
        raise JobError(
            "hub_unreachable",
            f"The Hub at {constants.ENDPOINT} can't be reached: {type(exc).__name__}.",
            "Check the network and the Hub's address in the settings, then push again; nothing is lost.",
        ) from exc


def _refused(exc: HfHubHTTPError, repo_id: str) -> JobError:
    status = exc.response.status_code
    words = (exc.server_message or str(exc).splitlines()[0]).strip()
    low = words.lower()
    if status == httpx.codes.UNAUTHORIZED:
        return JobError("hub_refused", "The Hub does not accept this token.", f"It may be revoked. {_MAKE_TOKEN}")
    if "storage" in low or "quota" in low or status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
        return JobError(
            "hub_refused", f"The Hub has no room left for this account: “{words}”.", "Delete old repositories there."
        )
    if "write token" in low or "write permission" in low or "permission" in low:
        return JobError("hub_refused", "A push needs a token with write permission.", _MAKE_TOKEN)
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return JobError(
            "hub_unreachable", f"The Hub has trouble of its own ({status}): “{words}”.", "Push again later."
        )
    return JobError("hub_refused", f"The Hub refused {repo_id} ({status}): “{words}”.", _MAKE_TOKEN)
