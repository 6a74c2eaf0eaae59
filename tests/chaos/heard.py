"""When a trainer last heard of its lease: stamped by the trainer as it reads, judged by a watcher beside it."""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import psutil

_FILE = "heard"
_STAMP = struct.Struct("qd")
_LOOK_SECONDS = 0.05


class StampedStdin:
    """The lines of a trainer's stdin; the time each was sent (or, unsaid, read) is kept in its job folder."""

    def __init__(self, pipe: TextIO, job_dir: Path) -> None:
        self._pipe = pipe
        self._fd = os.open(job_dir / _FILE, os.O_RDWR | os.O_CREAT)
        self._stamp("")

    def readline(self) -> str:
        """The first line: secrets."""
        return self._pipe.readline()

    def __iter__(self) -> Iterator[str]:
        """Renewals."""
        for line in self._pipe:
            self._stamp(line.strip())
            yield line

    def _stamp(self, said: str) -> None:
        os.pwrite(self._fd, _STAMP.pack(os.getpid(), float(said or time.monotonic())), 0)


def stamp_stdin() -> None:
    """From now on, in this process."""
    sys.stdin = StampedStdin(sys.stdin, Path(sys.argv[1]))


def pid_of(job_dir: Path) -> int | None:
    """The trainer that works, or worked, in `job_dir`."""
    with contextlib.suppress(FileNotFoundError):
        data = (job_dir / _FILE).read_bytes()
        return int(_STAMP.unpack(data)[0]) if len(data) == _STAMP.size else None
    return None


def lives(pid: int, job_dir: Path) -> str:
    """Its status; empty when it is dead, or the number is another's by now."""
    try:
        process = psutil.Process(pid)
        status = process.status()
        mine = status != psutil.STATUS_ZOMBIE and process.cmdline()[-1:] == [str(job_dir)]
    except psutil.Error:
        return ""
    return str(status) if mine else ""


class Watcher:
    """Looks at every trainer below `runs`: dead 5/6 of a lease after its last renewal, or 1/6 after it was woken.

    Time past that is counted by looks that happened, so that a machine that stands still counts nothing.
    """

    def __init__(self, runs: Path, lease: float) -> None:
        self._runs = runs
        self._lease = lease
        self._woke: dict[Path, float] = {}
        self._gone: set[Path] = set()
        self.late: dict[Path, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="watcher", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def latest(self) -> float:
        """The longest that one lived too long, in seconds."""
        return max(self.late.values(), default=0.0)

    def _loop(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            for file in self._runs.glob(f"*/a*/{_FILE}"):
                if file not in self._gone:
                    self._look(file)

    def _look(self, file: Path) -> None:
        with contextlib.suppress(FileNotFoundError, struct.error):
            pid, heard = _STAMP.unpack(file.read_bytes())
            status, now = lives(pid, file.parent), time.monotonic()
            if not status:
                self._gone.add(file)
            elif status == psutil.STATUS_STOPPED:
                self._woke[file] = now
            elif now > max(heard + self._lease * 5 / 6, self._woke.get(file, 0.0) + self._lease / 6):
                self.late[file] = self.late.get(file, 0.0) + _LOOK_SECONDS
