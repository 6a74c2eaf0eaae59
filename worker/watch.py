"""Looks at what a running job takes of this host's memory and disk, and says when it is too much.

The runner ends such a job. The kernel's own limits would not do: a limit on address space (RLIMIT_AS) breaks CUDA,
which reserves far more than it uses, and control groups need a right that most hosts do not give.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from app.core.settings import WorkerSettings
from worker.endings import failure

_GB = 1_000_000_000
#: With no limit set, a job that fills the disk is ended while the database and the other jobs still have this much.
LEAST_FREE = 200_000_000
_LOOK_SECONDS = 1.0
_BLOCK = 512
_SMALLER = "Choose a smaller batch, a shorter maximum length or a smaller model; or raise the limit on the worker"


class Watch:
    """One job: `process` and all below it, and the `folders` it writes to."""

    def __init__(self, settings: WorkerSettings, process: int, folders: Sequence[Path]) -> None:
        self._memory = int(settings.child_memory_gb * _GB)
        self._disk = int(settings.child_disk_gb * _GB)
        self._process = process
        self._folders = folders
        self._before = size_of(folders)
        self._looked = time.monotonic()

    def too_much(self) -> dict[str, Any] | None:
        """The error of a job that takes more than it may; looks once a second."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return None
        error = self._memory_error() or self._disk_error()
        self._looked = time.monotonic()
        return error

    def _memory_error(self) -> dict[str, Any] | None:
        held = memory_of(self._process) if self._memory else 0
        if held <= self._memory:
            return None
        return failure(
            "out_of_memory",
            f"This job held {held / _GB:.1f} GB of memory; a job may hold {self._memory / _GB:g} GB on this worker.",
            f"{_SMALLER} (TUNEDECK_WORKER__CHILD_MEMORY_GB).",
        )

    def _disk_error(self) -> dict[str, Any] | None:
        free = shutil.disk_usage(self._folders[0]).free
        if not self._disk and free > LEAST_FREE:
            return None  # the common case walks through no folder
        written = size_of(self._folders) - self._before
        if self._disk and written > self._disk:
            return failure(
                "disk_full",
                f"This job wrote {written / _GB:.1f} GB; a job may write {self._disk / _GB:g} GB on this worker.",
                "Save checkpoints less often, or raise the limit on the worker (TUNEDECK_WORKER__CHILD_DISK_GB).",
            )
        if free <= LEAST_FREE < written:
            return failure(
                "disk_full",
                f"The worker's disk has {free / _GB:.1f} GB left, and this job wrote {written / _GB:.1f} GB: "
                "it was ended before the others fail.",
                "Make room on the worker's disk: the Storage page shows what takes it. Then start the job again.",
            )
        return None


def memory_of(process: int) -> int:
    """Bytes that a process and all below it hold and can't give back: files that they map and read do not count."""
    try:
        first = psutil.Process(process)
        family = [first, *first.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(_held(one) for one in family)


def _held(process: psutil.Process) -> int:
    """Weights are read through mapped files, which the kernel drops when it needs the room."""
    try:
        if sys.platform != "linux":
            return int(process.memory_info().rss)
        lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except (OSError, psutil.Error):  # it just went
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def size_of(folders: Sequence[Path]) -> int:
    """Bytes on the disk below `folders`; a file of several names counts once."""
    return sum({inode: size for folder in folders for inode, size in _sizes(folder)}.values())


def _sizes(folder: Path) -> Iterator[tuple[tuple[int, int], int]]:
    for path in folder.rglob("*"):
        try:
            found = path.lstat()
        except OSError:  # it just went
            continue
        yield (found.st_dev, found.st_ino), found.st_blocks * _BLOCK
