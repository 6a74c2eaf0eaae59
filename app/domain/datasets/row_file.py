"""Canonical rows by their number, however long the file: where rows begin is counted once, block by block.

Of each block only the number of rows before it is kept, 8 bytes for 256 kB of the file. Counting line ends runs at
the speed of memory, so nothing is stored beside the file, and a process that has just started is as quick.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

BLOCK = 256 * 1024
#: Bytes of rows that one look takes at most, beyond the first row.
MOST_BYTES = 8_000_000
_KEPT = 64


class _Index:
    """How many line ends come before each block of a file, as far as anybody has asked."""

    def __init__(self) -> None:
        self.before = array("Q", [0])
        self.whole = False
        self.lock = threading.Lock()

    def reach(self, file: BinaryIO, number: int) -> None:
        """Count on until line end `number` is passed, or the file is through."""
        with self.lock:
            file.seek((len(self.before) - 1) * BLOCK)
            while not self.whole and self.before[-1] < number:
                block = file.read(BLOCK)
                self.whole = len(block) < BLOCK
                self.before.append(self.before[-1] + block.count(b"\n"))


_known: OrderedDict[tuple[str, int, int], _Index] = OrderedDict()
_lock = threading.Lock()


def _index_of(path: Path) -> _Index:
    stat = path.stat()
    key = (str(path), stat.st_size, stat.st_mtime_ns)
    with _lock:
        found = _known.setdefault(key, _Index())
        _known.move_to_end(key)
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    return found


def offset_of(path: Path, number: int) -> int | None:
    """The byte at which row `number` (0-based) begins; None where the file has no such row, or is gone."""
    if not path.is_file():
        return None
    if number == 0:
        return 0 if path.stat().st_size else None
    index = _index_of(path)
    with path.open("rb") as file:
        index.reach(file, number)
        block = bisect_left(index.before, number) - 1
        if index.before[-1] < number:
            return None
        file.seek(block * BLOCK)
        data, at = file.read(BLOCK), -1
        for _ in range(number - index.before[block]):
            at = data.index(b"\n", at + 1)
    found = block * BLOCK + at + 1
    return found if found < path.stat().st_size else None


def lines_from(path: Path, number: int) -> Iterator[bytes]:
    """The rows from `number` (0-based) on, as they lie there."""
    start = offset_of(path, number)
    if start is None:
        return
    with path.open("rb") as file:
        file.seek(start)
        yield from file


def some_lines(path: Path, number: int, count: int) -> list[bytes]:
    """At most `count` rows from `number` on; fewer where they are huge, but one at least."""
    found: list[bytes] = []
    size = 0
    for line in lines_from(path, number):
        if len(found) == count or (found and size + len(line) > MOST_BYTES):
            break
        found.append(line)
        size += len(line)
    return found
