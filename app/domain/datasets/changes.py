"""Rows changed into those of a new version, one by one and in a flat memory. Pure.

The rows of the parent never change, so a text to look for says which rows are meant as well as their numbers do.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict

from app.domain.datasets.refusals import FormatError, Row
from app.domain.datasets.row_search import LONGEST, Matcher
from app.domain.datasets.sides import SIDES, bare

#: Row numbers that the lineage names; all are counted.
MOST_NAMED = 200
_PLACEHOLDER = re.compile(r"\{\{\s*[\w.-]{1,40}\s*\}\}")
_encode = msgspec.json.Encoder().encode

Kind = Literal["edited", "excluded", "matching", "copies", "restored"]


class Changes(BaseModel):
    """What is to be different. Numbers are 0-based, and the parent's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    #: Number -> canonical row.
    edited: dict[int, Row] = {}
    excluded: tuple[int, ...] = ()
    #: Rows that hold this text are left out.
    matching: str = ""

    @property
    def text(self) -> str:
        """What was looked for, as far as a search goes."""
        return self.matching.strip()[:LONGEST]


@dataclass
class Applied:
    """What came of it. `edited`: (number in the parent, number here); `gone`: the first of those left out."""

    rows: int = 0
    size: int = 0
    sha256: str = ""
    edited: list[tuple[int, int]] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    excluded: int = 0
    stats: dict[str, Any] = field(default_factory=dict)

    def told(self, changes: Changes) -> dict[str, Any]:
        """As the version keeps it."""
        named = {"edited": self.edited[:MOST_NAMED], "gone": self.gone, "excluded": self.excluded}
        return {"kind": changes.kind, "text": changes.text} | named


def apply(
    source: Path, out: IO[bytes], changes: Changes, stats: Mapping[str, Any], pulse: Callable[[int], None] | None = None
) -> Applied:
    """Write the rows of `source`, changed, to `out`. `stats`: the parent's; `pulse` is called with the bytes read.

    Raises `FormatError` when no row would be left, or nothing would be different.
    """
    work = _Work(changes)
    with source.open("rb") as lines:
        for number, line in enumerate(lines):
            work.take(number, line, out)
            if pulse is not None and number % 1000 == 0:
                pulse(lines.tell())
    return work.result(stats)


class _Work:
    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._excluded = frozenset(changes.excluded)
        self._matcher = Matcher(changes.text) if changes.kind == "matching" else None
        self._seen: set[bytes] = set()
        self._hash = hashlib.sha256()
        self._done = Applied()
        self._more: Counter[str] = Counter()
        self._less: Counter[str] = Counter()

    def take(self, number: int, line: bytes, out: IO[bytes]) -> None:
        """One row of the parent."""
        if (edited := self._changes.edited.get(number)) is not None:
            self._less.update(counted(line))
            line = _encode(edited) + b"\n"
            self._more.update(counted(line))
            self._done.edited.append((number, self._done.rows))
        elif self._is_out(number, line):
            self._less.update(counted(line))
            self._done.excluded += 1
            if len(self._done.gone) < MOST_NAMED:
                self._done.gone.append(number)
            return
        out.write(line)
        self._hash.update(line)
        self._done.rows += 1
        self._done.size += len(line)

    def _is_out(self, number: int, line: bytes) -> bool:
        match self._changes.kind:
            case "matching":
                return self._matcher is not None and self._matcher.matches(line) is not None
            case "copies":
                key = hashlib.blake2b(bare(line)[0], digest_size=16).digest()
                known = key in self._seen
                self._seen.add(key)
                return known
            case _:
                return number in self._excluded

    def result(self, stats: Mapping[str, Any]) -> Applied:
        """What came of it, once all rows are through."""
        done = self._done
        if not done.rows:
            raise FormatError("No row would be left. Delete the data set instead, if that is what you want.")
        if not done.edited and not done.excluded and self._changes.kind != "restored":
            raise FormatError(_NOTHING[self._changes.kind])
        done.sha256 = self._hash.hexdigest()
        done.stats = _adjusted(stats, self._more, self._less) | {"rows_sha256": done.sha256}
        return done


_NOTHING = {
    "edited": "There is no such row.",
    "excluded": "Choose rows first.",
    "matching": "No row holds this text.",
    "copies": "No row is an exact copy of an earlier one.",
}


def counted(line: bytes) -> Counter[str]:
    """What an intake counts of a row; placeholders go by their own names."""
    row = msgspec.json.decode(line)
    turns = row.get("messages") or row.get("prompt") or [{"role": "text", "content": row.get("text", "")}]
    found = Counter(set(_PLACEHOLDER.findall(line.decode())) if b"{{" in line else ())
    found["characters"] = sum(len(turn["content"]) for turn in turns)
    found["turns"] = len(turns)
    found["with_reasoning"] = any("reasoning" in turn for turn in turns)
    found["with_system"] = turns[0]["role"] == "system"
    found["with_tools"] = "tools" in row
    for side in SIDES:
        found[f"split_{side}"] = row.get("split") == side
    found["multi_turn"] = sum(turn["role"] == "user" for turn in turns) > 1
    return found


_COUNTS = (
    "characters", "turns", "with_reasoning", "with_system", "with_tools", "multi_turn",
    *(f"split_{side}" for side in SIDES),
)  # fmt: skip


def _adjusted(stats: Mapping[str, Any], more: Counter[str], less: Counter[str]) -> dict[str, Any]:
    """The parent's counts with what came and went."""
    changed = {name: max(0, stats.get(name, 0) + more[name] - less[name]) for name in _COUNTS}
    names = dict(stats.get("placeholders", {}))
    for name in {*names, *more} - set(_COUNTS):
        names[name] = names.get(name, 0) + more[name] - less[name]
    placeholders = {name: count for name, count in names.items() if count > 0}
    return {name: count for name, count in changed.items() if count} | {"placeholders": placeholders}
