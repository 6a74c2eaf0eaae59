"""The short way of an intake keeps what the long way would, to the last byte that counts."""

from __future__ import annotations

import io
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.datasets.formats import Format, convert
from app.domain.datasets.refusals import RowError
from app.domain.files.parsing import value_of
from app.domain.files.records import Record
from worker.child import Child
from worker.intake.intake import Intake
from worker.intake.keeper import Keeper
from worker.trainer.protocol import Control, Emitter
from worker.trainer.specs import IntakeSpec

TEXTS = st.sampled_from(
    [
        *("Why?", " a\n", "", " ", '"x":', '{"a": 1}', "{{name}}", "{", "\\", '\\":', "\u2028", "é😀", "think>"),
        *("<think>r</think>b", "a</think>b", "<think>a", "<think></think>b", "<think>r</think>"),
        "<think>{{n}}</think> b",
    ]
)
ROLES = {"messages": ["system", "user", "assistant", "tool"], "sharegpt": ["system", "human", "gpt", "observation"]}
ODD: Any = st.sampled_from([{}, {}, {}, {}, {}, {"weight": 0}, {"reasoning": "r"}, {"name": None}])


#: Columns that are not used.
OTHERS: Any = st.just({}) | st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers() | TEXTS,
        "scöre": st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
        'a "b"': TEXTS,
        "more": st.sampled_from([[], [1], {}, {"a": {"b": 1}}, "x"]),
    },
)


@st.composite
def files(draw: st.DrawFn) -> tuple[Format, list[bytes]]:
    kind: Format = draw(st.sampled_from(["messages", "sharegpt"]))
    names = ("role", "content", "messages") if kind == "messages" else ("from", "value", "conversations")
    rows = []
    for _ in range(draw(st.integers(1, 12))):
        usual = draw(st.booleans())
        turns: list[Any] = [{names[0]: ROLES[kind][n % 2 + 1], names[1]: "Hi."} for n in range(2)]
        more = st.fixed_dictionaries({names[0]: st.sampled_from(ROLES[kind]), names[1]: TEXTS})
        if not usual:
            turns += [one | draw(ODD) for one in draw(st.lists(more, max_size=3))]
        space = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
        others = draw(OTHERS)
        row = {names[2]: turns} | others if draw(st.booleans()) else others | {names[2]: turns}
        rows.append(json.dumps(row, ensure_ascii=draw(st.booleans()), separators=space).encode())
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(rows) - 1))
        twice = draw(st.sampled_from([b'"%s":"Ho."' % names[1].encode(), b'"x": 1']))
        rows[at] = rows[at].replace(b'"Hi."', b'"Hi.",' + twice, 1)  # a key twice, or one that is not known
        rows[at] = draw(st.sampled_from([rows[at], rows[at][:-1] + b', "id": 1, "id": 2}', rows[at][:-1] + b',"q":3}']))
    return kind, rows


def long_way(kind: Format, rows: list[bytes], keeper: Keeper) -> None:
    column = {"messages": "messages"} if kind == "messages" else {"messages": "conversations"}
    for number, raw in enumerate(rows, start=1):
        record = Record(number, 0, raw)
        try:
            row = convert(value_of(record), kind, column)
        except RowError as exc:
            keeper.refuse(exc, record)
        else:
            keeper.keep(row)


def counted(keeper: Keeper) -> dict[str, Any]:
    """Without what depends on how a row is spaced."""
    stats = {name: value for name, value in keeper.stats().items() if name != "rows_sha256" and value}
    return stats | {"rows": keeper.rows, "problems": keeper.problems}


@pytest.mark.parametrize("shape", ["lines", "array", "indented"])
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=files())
def test_both_ways_lead_to_the_same(shape: str, made: tuple[Format, list[bytes]]) -> None:
    kind, rows = made
    with tempfile.TemporaryDirectory() as name:
        job = Path(name)
        spec = IntakeSpec(source=job / "source", filename="rows.json", format=kind, max_problems=100)
        mapping = {"messages": "messages" if kind == "messages" else "conversations"}
        spec = spec.model_copy(update={"mapping": mapping})
        between = {"lines": b"\n", "array": b", ", "indented": b",\n  "}[shape]
        text = between.join(rows)
        spec.source.write_bytes(text if shape == "lines" else b"[" + text + b"]")
        child = Child(job, Emitter(job, None), Control(job), {})
        ours, theirs = io.BytesIO(), io.BytesIO()
        fast, slow = Keeper(child, spec, ours), Keeper(child, spec, theirs)
        Intake(child, spec, fast).read()
        long_way(kind, rows, slow)
        child.events.close()
    assert [json.loads(row) for row in ours.getvalue().splitlines()] == [
        json.loads(row) for row in theirs.getvalue().splitlines()
    ]
    assert counted(fast) == counted(slow)


def test_order_of_keys_is_that_of_the_long_way(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "<think>r</think>a"}]}
    spec = IntakeSpec(source=tmp_path / "source", filename="rows.jsonl")
    spec.source.write_bytes(json.dumps(row).encode() + b"\n")
    child = Child(tmp_path, Emitter(tmp_path, None), Control(tmp_path), {})
    out = io.BytesIO()
    Intake(child, spec, Keeper(child, spec, out)).read()
    child.events.close()
    answer = b'{"role":"assistant","reasoning":"r","content":"a"}'
    assert out.getvalue() == b'{"messages":[{"role":"user","content":"Q"},' + answer + b"]}\n"


@pytest.mark.parametrize("between", [b",", b",\n  ", b" , "])
def test_a_bad_value_far_into_an_array_is_told_with_its_place(tmp_path: Path, between: bytes) -> None:
    good = (
        b'{"messages": [{"role": "user", "content": "' + b"why " * 40 + b'?"}, {"role": "assistant", "content": "A."}]}'
    )
    bad = b'{"messages": [{"role": "robot", "content": "x"}]}'
    rows = [good] * 2_000
    for number in (1, 1_200, 1_201, 1_999):
        rows[number] = bad
    spec = IntakeSpec(source=tmp_path / "source", filename="rows.json")
    data = b"\xef\xbb\xbf [" + between.join(rows) + b"]"
    spec.source.write_bytes(data)
    child = Child(tmp_path, Emitter(tmp_path, None), Control(tmp_path), {})
    keeper = Keeper(child, spec, io.BytesIO())
    Intake(child, spec, keeper).read()
    child.events.close()
    told = [json.loads(line) for line in (tmp_path / "events.jsonl").read_bytes().splitlines()]
    problems = [each for each in told if each["kind"] == "problem"]
    assert [each["line"] for each in problems] == [2, 1_201, 1_202, 2_000]
    assert all(data[each["offset"] :].startswith(bad) for each in problems)
    assert (keeper.rows, keeper.problems) == (1_996, 4)


def test_an_array_of_many_small_values_ends_soon(tmp_path: Path) -> None:
    spec = IntakeSpec(source=tmp_path / "source", filename="rows.json", format="messages", max_problems=1)
    spec = spec.model_copy(update={"mapping": {"messages": "messages"}})
    for value in (b"1", b'{"a":[]}'):
        spec.source.write_bytes(b"[" + b",".join([value] * 60_000) + b"]")
        child = Child(tmp_path, Emitter(tmp_path, None), Control(tmp_path), {})
        keeper = Keeper(child, spec, io.BytesIO())
        begun = time.process_time()
        Intake(child, spec, keeper).read()
        child.events.close()
        assert keeper.problems == 60_000
        assert time.process_time() - begun < 30
