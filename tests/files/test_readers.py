"""Lines, arrays and tables: each row with its number and its place, and a bad one alone is bad."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from app.domain.datasets.refusals import FormatError, RowError
from app.domain.files import arrays, lines, records, tables
from app.domain.files.parsing import value_of
from app.domain.files.sniffing import packing_of
from tests.files.streams import records as read

ONCE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_json: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@pytest.fixture(params=[7, 1 << 15], ids=["small pieces", "large pieces"])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in pieces of this many bytes: what is cut anywhere is the same."""
    for module in (lines, arrays, tables):
        monkeypatch.setattr(module, "BLOCK", request.param)


pytestmark = pytest.mark.usefixtures("_pieces")


@ONCE
@example(["{"], None, False)
@example(["a ] b", "}"], 2, True)
@given(st.lists(_json, max_size=6), st.sampled_from([None, 2]), st.booleans())
def test_an_array_gives_its_values(tmp_path: Path, values: list[object], indent: int | None, ascii_only: bool) -> None:
    data = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode()
    found = read(tmp_path, data, arrays.read_values)
    assert [json.loads(record.raw) for record in found] == values
    assert all(data[record.offset :].startswith(record.raw) for record in found)
    assert [record.number for record in found] == list(range(1, len(values) + 1))


def test_objects_over_several_lines_need_no_array(tmp_path: Path) -> None:
    data = json.dumps({"a": [1, "}"]}, indent=2).encode() + b"\n" + json.dumps({"b": {}}, indent=2).encode()
    assert [value_of(r) for r in read(tmp_path, data, arrays.read_values)] == [{"a": [1, "}"]}, {"b": {}}]


@pytest.mark.parametrize(
    "data, good, bad",
    [
        (b'[{"a": 1}, {"a": }, {"a": 3}]', 2, 1),
        (b'[{"a": 1}, {"a": [}, {"a": 3}]', 2, 1),
        (b'[{"a": 1},\n{"a": "x},\n{"a": 3},\n{"a": 4}]', 3, 1),
        (b'[{"a": 1}, nonsense, {"a": 3}]', 2, 1),
        (b'[{"a": 1}, {"a": 2', 1, 1),
        (b'[{"a": 1}, {"a": 2}, ', 2, 1),
        (b'[{"a": 1}] {"a": 2} ]', 2, 1),
        (b"[", 0, 1),
        (b'["', 0, 1),
    ],
)
def test_a_broken_value_does_not_take_the_others_along(tmp_path: Path, data: bytes, good: int, bad: int) -> None:
    counts = [0, 0]
    for record in read(tmp_path, data, arrays.read_values):
        try:
            value_of(record)
            counts[0] += 1
        except RowError:
            counts[1] += 1
    assert counts == [good, bad]


@ONCE
@given(st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=8), st.booleans())
def test_lines_have_their_numbers_and_places(tmp_path: Path, parts: list[bytes], mark: bool) -> None:
    data = (b"\xef\xbb\xbf" if mark else b"") + b"\n".join(parts)
    assume(not packing_of(data))
    found = read(tmp_path, data, lines.read_lines)
    every = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert [(r.number, r.raw) for r in found] == [(n, x) for n, x in enumerate(every, 1) if x and not x.isspace()]
    assert all(data[r.offset :].startswith(r.raw) for r in found)


def test_any_number_of_empty_lines_costs_little(tmp_path: Path) -> None:
    found = read(tmp_path, b"\n" * 3_000_000 + b"1\n" + b"\n" * 3_000_000 + b"2", lines.read_lines)
    assert [(r.number, r.offset) for r in found] == [(3_000_001, 3_000_000), (6_000_002, 6_000_002)]


def test_a_line_too_long_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (lines, arrays, tables):
        monkeypatch.setattr(module, "MAX_ROW", 1000)
    long = b'{"a": "' + b"x" * 300_000 + b'"}'
    found = read(tmp_path, b"1\n" + long + b"\n3\n", lines.read_lines)
    assert [(r.number, r.error and r.error.code) for r in found] == [(1, None), (2, "too_long"), (3, None)]
    assert found[2].offset == len(long) + 3
    found = read(tmp_path, b"[1," + long + b",3]", arrays.read_values)
    assert [(r.raw[:9], r.error and r.error.code) for r in found] == [
        (b"1", None),
        (long[:9], "too_long"),
        (b"3", None),
    ]


_cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)


@ONCE
@given(st.lists(st.tuples(_cells, _cells), max_size=6), st.sampled_from([",", ";", "\t"]))
def test_a_table_comes_back_as_it_was_written(tmp_path: Path, rows: list[tuple[str, str]], separator: str) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=separator, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    found = read(tmp_path, out.getvalue().encode(), lambda stream: tables.read_table(stream, separator))
    assert [r.value for r in found] == [{"a": a, "b": b} for a, b in rows if a or b]


def test_a_bad_row_of_a_table_is_told_with_its_line(tmp_path: Path) -> None:
    data = b'a,b\r\n1,"x\ny"\r\n2,3,4\r\n\r\n5,\xff\r\n6,7\r\n"8"x,9\r\n10\r\n"open'
    found = read(tmp_path, data, lambda stream: tables.read_table(stream, ","))
    told = [(r.number, r.error.code if r.error else r.value) for r in found]
    assert told == [
        (2, {"a": "1", "b": "x\ny"}),
        (4, "too_many_cells"),
        (6, "not_utf8"),
        (7, {"a": "6", "b": "7"}),
        (8, "bad_table"),
        (9, {"a": "10"}),
        (10, "bad_table"),
    ]
    assert [data[r.offset :].split(b",")[0][:3] for r in found][:2] == [b"1", b"2"]


@pytest.mark.parametrize("head", [b"a,a\n1,2\n", b"a,\xff\n1,2\n", b'"a\n', b",,\n"])
def test_a_table_needs_names_for_its_columns(tmp_path: Path, head: bytes) -> None:
    with pytest.raises(FormatError, match="first row"):
        read(tmp_path, head, lambda stream: tables.read_table(stream, ","))


@pytest.mark.parametrize(
    "raw, code",
    [
        (b'{"a": 1, "a": 2}', "key_twice"),
        (b'{"a": NaN}', "invalid_json"),
        (b'{"a": "\\ud800"}', "invalid_json"),
        (b'{"a": "\x00"}', "invalid_json"),
        (b'{"a": "\xed\xa0\x80"}', "not_utf8"),
        (b"[" * 100_000 + b"]" * 100_000, "invalid_json"),
        (b"[" * 500 + b"]" * 500, "too_deep"),
        (b"{" + b",".join(b'"%d":1' % n for n in range(20_000)) + b"}", "too_many_keys"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value[:12]),
)
def test_json_that_is_a_trap_ends_in_a_sentence(raw: bytes, code: str) -> None:
    with pytest.raises(RowError) as caught:
        value_of(records.Record(1, 0, raw))
    assert caught.value.code == code
    assert caught.value.message.endswith(".")


def test_a_colon_in_a_text_is_no_key_given_twice() -> None:
    assert value_of(records.Record(1, 0, rb'{"a": "he said \"b\": \"b\": no"}'))
