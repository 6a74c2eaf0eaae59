"""Rows by their number and by what they say, against reading the whole file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.datasets import row_file, row_search
from app.domain.datasets.row_search import find, texts_of
from app.domain.errors import TooManyError

_TEXTS = st.text(st.sampled_from('abcÄäß中 \n"\\/{}:,kK é😀'), max_size=12)


def chat(said: str, reasoning: str = "", **arguments: Any) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": "look", "arguments": arguments}}
    answer = {"role": "assistant", "reasoning": reasoning, "content": "Yes."} | (
        {"tool_calls": [call]} if arguments else {}
    )
    return {"messages": [{"role": "user", "content": said}, answer]}


def written(path: Path, rows: list[Any], *, escaped: bool = False, compact: bool = True) -> Path:
    separators = (",", ":") if compact else None
    lines = [json.dumps(row, ensure_ascii=escaped, separators=separators) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 40), max_size=30), block=st.integers(1, 50))
def test_every_row_is_found_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: list[int], block: int
) -> None:
    monkeypatch.setattr(row_file, "BLOCK", block)
    row_file._known.clear()
    path = tmp_path / "rows"
    lines = [b"x" * size + b"\n" for size in sizes]
    path.write_bytes(b"".join(lines))
    for number in [len(lines) - 1, 0, *range(len(lines) + 2)]:
        if number >= 0:
            assert row_file.some_lines(path, number, 3) == lines[number : number + 3]


def test_a_file_that_was_written_anew_is_counted_anew(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(b"a\nb\nc\n")
    assert row_file.some_lines(path, 2, 5) == [b"c\n"]
    path.write_bytes(b"longer\nb\nd\n")
    assert row_file.some_lines(path, 2, 5) == [b"d\n"]


def test_huge_rows_come_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_file, "MOST_BYTES", 10)
    path = tmp_path / "rows"
    path.write_bytes(b"a" * 50 + b"\n" + b"b\n" * 9)
    assert row_file.some_lines(path, 0, 5) == [b"a" * 50 + b"\n"]
    assert len(row_file.some_lines(path, 1, 9)) == 5


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(_TEXTS, _TEXTS, _TEXTS), max_size=12),
    text=_TEXTS.filter(str.strip),
    escaped=st.booleans(),
    compact=st.booleans(),
)
def test_search_finds_what_a_plain_loop_finds(
    tmp_path: Path, rows: list[tuple[str, str, str]], text: str, escaped: bool, compact: bool
) -> None:
    made = [chat(said, why, **({"where": to} if to else {})) for said, why, to in rows]
    path = written(tmp_path / "rows", made, escaped=escaped, compact=compact)
    low = text.strip().lower()
    wanted = [k for k, row in enumerate(made) if any(low in each.lower() for each in texts_of(row))]
    assert [number for number, _ in find(path, text, 0, 100).rows] == wanted


def test_a_page_of_hits_says_where_to_go_on(tmp_path: Path) -> None:
    path = written(tmp_path / "rows", [chat(f"Apple {k}" if k % 2 else "pear") for k in range(20)])
    first = find(path, "aPPle", 0, 4)
    assert ([number for number, _ in first.rows], first.next) == ([1, 3, 5, 7], 9)
    rest = find(path, "apple", first.next or 0, 40)
    assert ([number for number, _ in rest.rows], rest.next) == ([9, 11, 13, 15, 17, 19], None)
    assert find(path, "apple", 99, 4).rows == []


def test_keys_and_brackets_are_no_words(tmp_path: Path) -> None:
    path = written(tmp_path / "rows", [chat("one", city="Rome"), chat("role: look")])
    assert find(path, "role", 0, 9).rows[0][0] == 1
    assert find(path, '"city": "rome"', 0, 9).rows[0][0] == 0
    assert find(path, '}, {"', 0, 9).rows == []


def test_a_look_that_takes_too_long_says_how_far_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_search, "_CHUNK", 200)
    path = written(tmp_path / "rows", [chat("pear")] * 50)
    found = find(path, "apple", 0, 9, seconds=0)
    assert found.rows == []
    assert 0 < (found.next or 0) < 50


def test_searches_wait_for_one_another_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_search, "PATIENCE", 0.01)
    path = written(tmp_path / "rows", [chat("pear")])
    with row_search._one_of_few(), row_search._one_of_few(), row_search._one_of_few(), pytest.raises(TooManyError):
        find(path, "pear", 0, 1)
    assert len(find(path, "pear", 0, 1).rows) == 1
    for _ in range(row_search.AT_ONCE + row_search.IN_LINE):
        assert row_search._line.acquire(blocking=False)
    with pytest.raises(TooManyError):
        find(path, "pear", 0, 1)
    for _ in range(row_search.AT_ONCE + row_search.IN_LINE):
        row_search._line.release()
    assert len(find(path, "pear", 0, 1).rows) == 1
