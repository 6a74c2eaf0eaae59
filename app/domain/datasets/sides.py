"""What a row itself says of where it belongs: to training, validation or testing. Pure.

Kept as the last key of a canonical row. Copies on different sides are still seen to be copies: `bare` takes it off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TRAIN, VALIDATION, TEST = SIDES = ("train", "validation", "test")
_WORDS = {
    TRAIN: ("train", "training"),
    VALIDATION: ("validation", "valid", "val", "dev", "development", "eval", "evaluation"),
    TEST: ("test", "testing"),
}
_SIDE_OF = {word: side for side, words in _WORDS.items() for word in words}
_ENDS = {f',"split":"{side}"}}'.encode(): side for side in SIDES}
_ANY = tuple(_ENDS)


def side_of(value: object) -> str:
    """The side that a cell names; empty where it names none."""
    return _SIDE_OF.get(value.strip().lower(), "") if isinstance(value, str) else ""


def bare(line: bytes) -> tuple[bytes, str]:
    """A canonical row, without line end, and without its side, which is told beside it.

    No text can look like one: within a text, a quotation mark is escaped.
    """
    line = line.rstrip(b"\r\n")
    if not line.endswith(_ANY):
        return line, ""
    end = next(end for end in _ANY if line.endswith(end))
    return line[: -len(end)] + b"}", _ENDS[end]


def twins(row: bytes) -> list[bytes]:
    """How a bare row stands in a file: as it is, and on each side."""
    return [row, *(row[:-1] + end for end in _ENDS)]


def counts(stats: Mapping[str, Any]) -> dict[str, int]:
    """How many rows name which side, of what an intake counted; empty where none does."""
    found = {side: int(stats.get(f"split_{side}", 0)) for side in SIDES}
    return found if any(found.values()) else {}
