"""Rows changed into those of a version: what is left, what is told, and the counts that an intake would have made."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from app.domain.datasets.changes import Applied, Changes, apply, counted
from app.domain.datasets.refusals import FormatError

Rows = list[dict[str, Any]]


def row(said: str, answer: str = "Yes.", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": answer} | more]}


ROWS = [row("one"), row("Two {{name}}"), row("one"), row("three", reasoning="Hm."), row("two", tools=1)]


def changed(tmp_path: Path, changes: Changes, rows: Rows | None = None) -> tuple[Rows, Applied]:
    source = tmp_path / "rows"
    source.write_text("".join(json.dumps(each) + "\n" for each in rows or ROWS))
    stats: Counter[str] = Counter()
    for line in source.read_bytes().splitlines():
        stats.update(counted(line))
    names = {name: stats.pop(name) for name in [*stats] if name.startswith("{{")}
    out = io.BytesIO()
    applied = apply(source, out, changes, dict(stats) | {"placeholders": names})
    return [json.loads(line) for line in out.getvalue().splitlines()], applied


def test_a_row_is_replaced_where_it_stands(tmp_path: Path) -> None:
    new = row("zwei", "Nein.", reasoning="So.")
    left, applied = changed(tmp_path, Changes(kind="edited", edited={1: new}))
    assert left == [ROWS[0], new, *ROWS[2:]]
    assert (applied.rows, applied.edited, applied.excluded) == (5, [(1, 1)], 0)
    assert applied.stats["with_reasoning"] == 2
    assert applied.stats["placeholders"] == {}


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        (Changes(kind="excluded", excluded=(0, 3)), [1, 2, 4]),
        (Changes(kind="matching", matching=" TWO "), [0, 2, 3]),
        (Changes(kind="copies"), [0, 1, 3, 4]),
        (Changes(kind="restored"), [0, 1, 2, 3, 4]),
    ],
)
def test_rows_are_left_out_and_told(tmp_path: Path, changes: Changes, numbers: list[int]) -> None:
    left, applied = changed(tmp_path, changes)
    assert left == [ROWS[number] for number in numbers]
    assert applied.gone == [number for number in range(5) if number not in numbers]
    assert (applied.rows, applied.excluded) == (len(numbers), 5 - len(numbers))
    recounted = sum((counted(json.dumps(each).encode()) for each in left), Counter[str]())
    placeholders = {name: count for name, count in recounted.items() if name.startswith("{{")}
    assert applied.stats["placeholders"] == placeholders
    assert {name: applied.stats.get(name, 0) for name in ("turns", "characters", "with_reasoning")} == {
        name: recounted[name] for name in ("turns", "characters", "with_reasoning")
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (Changes(kind="excluded", excluded=(0, 1, 2, 3, 4)), "No row would be left"),
        (Changes(kind="excluded", excluded=(9,)), "Choose rows first"),
        (Changes(kind="matching", matching="nowhere"), "No row holds this text"),
        (Changes(kind="edited", edited={7: ROWS[0]}), "There is no such row"),
    ],
)
def test_a_version_without_a_difference_is_refused(tmp_path: Path, changes: Changes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        changed(tmp_path, changes)
    with pytest.raises(FormatError, match="exact copy"):
        changed(tmp_path, Changes(kind="copies"), ROWS[:2])
