"""Find and replace in the texts of a row: placeholders such as `{{name}}`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.domain.datasets.refusals import Row

MOST_PAIRS, LONGEST = 20, 1_000
Pairs = Sequence[tuple[str, str]]
#: What these hold is no text that a model reads or writes.
_KEPT = frozenset({"role", "type", "id", "tool_call_id", "split"})


def replaced(row: Row, pairs: Pairs) -> Row:
    """The row with every pair applied to all its texts, in order."""
    return {key: value if key in _KEPT else _in(value, pairs) for key, value in row.items()}


def _in(value: Any, pairs: Pairs) -> Any:
    if isinstance(value, str):
        for what, by in pairs:
            value = value.replace(what, by)
        return value
    if isinstance(value, list):
        return [_in(each, pairs) for each in value]
    return replaced(value, pairs) if isinstance(value, dict) else value
