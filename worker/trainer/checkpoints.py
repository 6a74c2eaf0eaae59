"""A checkpoint counts only when complete: a manifest of sizes and hashes, everything on the disk, then a rename."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

MANIFEST = "manifest.json"


def seal(part: Path, final: Path) -> int:
    """Make the finished folder `part` the checkpoint `final`; its size in bytes."""
    files = {_name(file, part): _entry(file) for file in _files(part)}
    manifest = part / MANIFEST
    manifest.write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")
    for file in (*_files(part), manifest):
        _flush(file)
    _flush(part)
    if final.exists():  # the same step again, after a resume in the same folder
        shutil.rmtree(final)
    part.rename(final)
    _flush(final.parent)
    return sum(int(entry["size"]) for entry in files.values())


def is_complete(folder: Path) -> bool:
    """Whether every file of the manifest is there, whole and unchanged."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return all(_entry(folder / name) == entry for name, entry in files.items())
    except (OSError, ValueError, KeyError):
        return False


def step_of(folder: Path) -> int:
    """The optimiser step a checkpoint was taken at."""
    return int(json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))["global_step"])


def prune(folder: Path, keep: int, best: str = "") -> None:
    """Remove all but the `keep` newest checkpoints of this job folder, and the one named `best`."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for old in found[:-keep]:
        if old.name != best:
            shutil.rmtree(old, ignore_errors=True)


def set_aside(folder: Path, aside: Path) -> None:
    """Give the files of `folder` a second name in `aside`, so that they outlive a pruning; costs next to no space.

    Raises `OSError` when a file is gone already; then nothing is left in `aside`.
    """
    shutil.rmtree(aside, ignore_errors=True)
    try:
        shutil.copytree(folder, aside, copy_function=_link)
    except (OSError, shutil.Error) as exc:
        shutil.rmtree(aside, ignore_errors=True)
        raise exc if not isinstance(exc, shutil.Error) else OSError(str(exc)[:300]) from exc


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def sha256_of(file: Path) -> str:
    """Hash of a file's bytes, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name != MANIFEST)


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()


def _entry(file: Path) -> dict[str, int | str]:
    return {"size": file.stat().st_size, "sha256": sha256_of(file)}


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
