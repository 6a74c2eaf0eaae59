"""Rows that say something: a text looked for in what a page shows of them, without regard to case.

Most of a file is passed over in its bytes. Only where the longest plain piece of the text stands is a row parsed and
looked at properly, so an escape, a key or a bracket is never taken for a word of the row.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from app.domain.datasets.refusals import Row
from app.domain.datasets.row_file import MOST_BYTES, offset_of
from app.domain.errors import TooManyError

#: A text that is looked for is cut here.
LONGEST = 200
_CHUNK = 1 << 20
#: A look may take so long before it says how far it came; so many go on at once, and others wait so long for one.
SECONDS, AT_ONCE, PATIENCE = 2.0, 3, 5.0
#: And so many wait at most: each holds one of the threads that serve all pages.
IN_LINE = 8
#: JSON writes these in more than one way, or puts spaces around them.
_PLAIN = re.compile(r'[^"\\/:,{}\[\]<>&\'\s]+(?: [^"\\/:,{}\[\]<>&\'\s]+)*')
#: A plain letter written as an escape, which hardly anybody does.
_ESCAPED = re.compile(rb"\\u00[2-7]")
_LISTS = ("messages", "prompt", "chosen", "rejected", "completion")
_slots, _line = threading.BoundedSemaphore(AT_ONCE), threading.BoundedSemaphore(AT_ONCE + IN_LINE)


_BUSY = "Other people are searching right now. Try again in a moment."


@dataclass
class Found:
    """Rows with their 0-based numbers; `next`: the row to go on from, None at the end of the file."""

    rows: list[tuple[int, Row]] = field(default_factory=list)
    next: int | None = None
    size: int = 0


def texts_of(row: Row) -> Iterator[str]:
    """Everything of a canonical row that a page shows, in its order."""
    if "text" in row:
        yield row["text"]
    for name in _LISTS:
        for turn in row.get(name) or ():
            yield turn.get("reasoning") or ""
            yield turn.get("content") or ""
            for call in turn.get("tool_calls") or ():
                yield from _call(call)


def _call(call: Any) -> Iterator[str]:
    inner = call.get("function") if isinstance(call, dict) else None
    if isinstance(inner, dict):
        yield str(inner.get("name", ""))
        arguments = inner.get("arguments", "")
        yield arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


class Matcher:
    """Whether rows hold `text`."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()[:LONGEST]
        self._low = self.text.lower()
        pieces = _PLAIN.findall(self._low)
        piece = max(pieces, key=len, default="")
        self._ascii = piece.isascii()
        self._bytes, self._piece = piece.encode("utf-8", "replace"), piece

    def may_match(self, data: bytes) -> bool:
        """False where no row of `data` can hold it."""
        if not self._piece:
            return True
        if self._ascii:
            return self._bytes in data.lower() or _ESCAPED.search(data) is not None
        return b"\\u" in data or self._piece in data.decode("utf-8", "replace").lower()

    def matches(self, line: bytes) -> Row | None:
        """The row of `line`, if it holds the text."""
        if not self.may_match(line):
            return None
        row: Row = msgspec.json.decode(line)
        return row if any(self._low in text.lower() for text in texts_of(row)) else None


def find(path: Path, text: str, start: int, count: int, seconds: float = SECONDS) -> Found:
    """At most `count` rows that hold `text`, from row `start` on, as far as a look of `seconds` goes.

    Raises `TooManyError` while too many others look.
    """
    with _one_of_few():
        return _find(path, Matcher(text), start, count, time.monotonic() + seconds)


@contextmanager
def _one_of_few() -> Iterator[None]:
    if not _line.acquire(blocking=False):
        raise TooManyError(_BUSY, retry_after=5)
    try:
        if not _slots.acquire(timeout=PATIENCE):
            raise TooManyError(_BUSY, retry_after=5)
        try:
            yield
        finally:
            _slots.release()
    finally:
        _line.release()


def _find(path: Path, matcher: Matcher, start: int, count: int, until: float) -> Found:
    found = Found()
    offset = offset_of(path, start)
    if offset is None:
        return found
    with path.open("rb") as file:
        file.seek(offset)
        while lines := file.readlines(_CHUNK):
            if matcher.may_match(b"".join(lines)) and _look_through(lines, matcher, start, count, found):
                return found
            start += len(lines)
            if time.monotonic() > until:
                found.next = start
                break
    return found


def _look_through(lines: list[bytes], matcher: Matcher, first: int, count: int, found: Found) -> bool:
    """Whether as many were found as a page holds."""
    for number, line in enumerate(lines, start=first):
        row = matcher.matches(line)
        if row is None:
            continue
        if len(found.rows) == count or (found.rows and found.size + len(line) > MOST_BYTES):
            found.next = number
            return True
        found.rows.append((number, row))
        found.size += len(line)
    return False
