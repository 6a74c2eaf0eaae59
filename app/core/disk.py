"""What lies in a folder, and how large it is: a walk that is bounded in files and time, and kept for a minute."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

#: A walk ends after this many files or seconds: a page must come, and says then that there is more.
MOST_FILES = 200_000
MOST_SECONDS = 2.0
KEPT_SECONDS = 60.0


@dataclass
class Walked:
    """Bytes by name of what lies directly in a folder, and by `name/inner` one level below."""

    sizes: dict[str, int] = field(default_factory=dict)
    inner: dict[str, int] = field(default_factory=dict)
    #: False: the walk was ended before it had seen everything.
    whole: bool = True

    @property
    def total(self) -> int:
        """Bytes of everything that was seen."""
        return sum(self.sizes.values())


class _Ended(Exception):
    """The walk has seen as much as it may."""


class Walk:
    """One walk, counted. Links are not followed, and a file with two names is counted once."""

    def __init__(self, files: int = MOST_FILES, seconds: float = MOST_SECONDS) -> None:
        self._files = files
        self._until = time.monotonic() + seconds
        self._seen: set[tuple[int, int]] = set()

    def of(self, root: Path) -> Walked:
        """Everything below `root`; nothing where it is not there."""
        found = Walked()
        try:
            for entry in _entries(root):
                found.sizes[entry.name] = 0
                self._child(entry, found)
        except _Ended:
            found.whole = False
        return found

    def _child(self, entry: os.DirEntry[str], found: Walked) -> None:
        if not entry.is_dir(follow_symlinks=False):
            found.sizes[entry.name] += self._size(entry)
            return
        for inner in _entries(Path(entry.path)):
            key = f"{entry.name}/{inner.name}"
            found.inner[key] = 0
            for size in self._below(inner):
                found.inner[key] += size
                found.sizes[entry.name] += size

    def _below(self, entry: os.DirEntry[str]) -> list[int]:
        waiting, sizes = [entry], []
        while waiting:
            here = waiting.pop()
            if here.is_dir(follow_symlinks=False):
                waiting += _entries(Path(here.path))
            else:
                sizes.append(self._size(here))
        return sizes

    def _size(self, entry: os.DirEntry[str]) -> int:
        self._files -= 1
        if self._files < 0 or time.monotonic() > self._until:
            raise _Ended
        try:
            stat = entry.stat(follow_symlinks=False)
        except OSError:
            return 0  # gone meanwhile
        if stat.st_nlink > 1:
            if (stat.st_dev, stat.st_ino) in self._seen:
                return 0
            self._seen.add((stat.st_dev, stat.st_ino))
        return stat.st_size


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


_kept: dict[Path, tuple[float, Walked]] = {}
_lock = threading.Lock()


def walked(root: Path) -> Walked:
    """What lies in `root`, as it was at most a minute ago. One walk at a time."""
    with _lock:
        known = _kept.get(root)
        if known and time.monotonic() - known[0] < KEPT_SECONDS:
            return known[1]
        found = Walk().of(root)
        _kept[root] = (time.monotonic(), found)
        return found


def forget_walks() -> None:
    """Something was removed: the next look walks again."""
    with _lock:
        _kept.clear()
