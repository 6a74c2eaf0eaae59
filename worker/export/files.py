"""Finished files: hashed, measured, and visible only when complete."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from worker.child import JobError

#: Lies in a finished folder and says what belongs to it; never pushed, never part of the folder's own hash.
MANIFEST = "tunedeck.json"


class FileEntry(BaseModel):
    """One file of a finished folder: bytes and SHA-256."""

    size: int
    sha256: str


class Manifest(BaseModel):
    """What a finished folder holds, and the proof made when it was finished."""

    files: dict[str, FileEntry]
    proof: dict[str, Any] = {}
    #: Hash of the adapter that is in it, for a merged model.
    adapter: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files.values())

    @property
    def sha256(self) -> str:
        """Hash over the sorted lines `<sha256>  <name>`, as `sha256sum` prints them."""
        lines = (f"{entry.sha256}  {name}\n" for name, entry in sorted(self.files.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_of(folder: Path) -> Manifest:
    """Read every file of `folder` once."""
    names = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    entries = {p.relative_to(folder).as_posix(): FileEntry(size=p.stat().st_size, sha256=sha256_of(p)) for p in names}
    return Manifest(files=entries)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a finished folder whose files still have their sizes, else None."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        whole = all((folder / name).stat().st_size == entry.size for name, entry in manifest.files.items())
    except (OSError, ValueError):
        return None
    return manifest if whole else None


def finish_folder(part: Path, final: Path, manifest: Manifest) -> None:
    """Make `part` appear as `final`, manifest included, in one step."""
    (part / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    for path in part.rglob("*"):
        if path.is_file():
            _sync(path)
    if final.exists():
        shutil.rmtree(final)  # an incomplete one, or one whose files changed
    part.rename(final)
    _sync(final.parent)


def finish_file(part: Path, final: Path) -> None:
    """Make `part` appear as `final` in one step."""
    _sync(part)
    part.replace(final)
    _sync(final.parent)


def write_text(path: Path, text: str) -> None:
    """Write `path` whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    finish_file(part, path)


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON, whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def need_space(folder: Path, size: int, what: str) -> None:
    """Raise `disk_full` when `folder`'s disk has less than `size` bytes (and a twentieth) left."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size * 1.05:
        raise JobError(
            "disk_full",
            f"The {what} needs {size / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB left.",
            "Free some space on the worker (old exports, models no longer used) and start the export again.",
        )


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
