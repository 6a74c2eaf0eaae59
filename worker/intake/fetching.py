"""Before an intake: the file that it reads is fetched, and put into its place whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from worker.child import Child, JobError
from worker.trainer.protocol import Result
from worker.trainer.specs import FETCHING, HubFetch, IntakeSpec

_CHUNK = 1 << 20
#: In the folder beside the file: what is told of it. It outlives the move, so that a new attempt tells it too.
_TOLD = "told.json"
#: Bytes that stay free on the disk after a fetch; the rows come on top.
_SPARE_BYTES = 256_000_000


def fetch(child: Child, spec: IntakeSpec) -> IntakeSpec | None:
    """The same with its source in place; None when a person has to choose a part first. Raises `JobError`."""
    wish = spec.fetch
    if wish is None:
        return spec
    spec.source.parent.mkdir(parents=True, exist_ok=True)
    folder = spec.source.with_name(spec.source.name + FETCHING)
    folder.mkdir(exist_ok=True)
    out = folder / "whole"
    if spec.source.exists():  # an attempt ended between its move and the word of it
        return _tell(child, spec, folder)
    if isinstance(wish, HubFetch):
        from worker.intake import hub  # its library takes a second to load

        found = hub.find(wish, child)
        parts = hub.choose(found, wish)
        if len(parts) > 1:
            choices = {"choices": hub.described(found, parts), "commit": found.commit, "converted": found.converted}
            child.events.emit(Result(payload=choices))
            return None
        check_size(sum(found.sizes[name] for name in parts[0].files), wish.max_bytes, folder, len(parts[0].files) + 1)
        name = hub.fetch(wish, found, parts[0], child, folder, out)
        about = {"commit": found.commit, "config": parts[0].config, "split": parts[0].split}
    else:
        from worker.intake.web import fetch_url

        name, about = fetch_url(wish, child, out), {}
    if out.stat().st_size == 0:
        raise JobError("bad_data", "What was fetched is empty.", "Choose another part, or another data set.")
    (folder / _TOLD).write_text(json.dumps({"filename": name[:200]} | about))
    out.replace(spec.source)
    return _tell(child, spec, folder)


def check_size(size: int, most: int, folder: Path, copies: int, here: int = 0) -> None:
    """`copies`: more than two files lie there twice for a while. `here`: bytes that lie there. Raises `JobError`."""
    if most and size > most:
        message = f"It holds {size / 1e9:.1f} GB, more than the server accepts ({most / 1e9:.1f} GB)."
        raise JobError(
            "bad_data", message, "Choose a smaller part, or ask for a higher limit (TUNEDECK_WEB__MAX_UPLOAD_BYTES)."
        )
    needed = size * (3 if copies > 2 else 2) - here + _SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if needed > free:
        message = f"It needs {needed / 1e9:.1f} GB with its rows, and the disk has {free / 1e9:.1f} GB free."
        raise JobError("disk_full", message, "Free some space on the worker's disk, then fetch it again.")


def _tell(child: Child, spec: IntakeSpec, folder: Path) -> IntakeSpec:
    """The file is in its place, and the runner hears of it before it is read."""
    digest = hashlib.sha256()
    with spec.source.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            child.stop_point()
    about: dict[str, Any] = {"filename": spec.filename}
    with suppress(OSError, ValueError):
        about |= json.loads((folder / _TOLD).read_text())
    source = {"size": spec.source.stat().st_size, "sha256": digest.hexdigest()} | about
    child.events.emit(Result(payload={"source": source}))
    shutil.rmtree(folder, ignore_errors=True)
    return spec.model_copy(update={"filename": about["filename"]})
