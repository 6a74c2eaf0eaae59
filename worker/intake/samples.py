"""A few rows as they stand in the file, small enough to be shown: for choosing what its columns are."""

from __future__ import annotations

from typing import Any

import msgspec

MOST_ROWS, MOST_BYTES, LONGEST_CELL = 5, 8_000, 600


def samples_of(rows: list[object]) -> list[dict[str, Any]]:
    """The first rows that can be shown; long texts are cut."""
    found = []
    for row in rows:
        shown = _plain({name: _short(value) for name, value in row.items()}) if isinstance(row, dict) else None
        if shown:
            found.append(shown)
        if len(found) == MOST_ROWS:
            break
    return found


def _short(value: object) -> object:
    """A text that is JSON stays whole: half of it would be none."""
    if isinstance(value, str) and len(value) > LONGEST_CELL and value[:1] not in {"[", "{"}:
        return value[:LONGEST_CELL] + "…"
    return value


def _plain(row: dict[str, Any]) -> dict[str, Any] | None:
    """As JSON has it, if it is not too large. Cells of tables can hold what JSON has no word for, such as dates."""
    try:
        text = msgspec.json.encode(row)
    except (TypeError, ValueError, msgspec.MsgspecError):
        return None
    return msgspec.json.decode(text, type=dict[str, Any]) if len(text) <= MOST_BYTES else None
