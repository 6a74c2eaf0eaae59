from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.datasets import formats
from app.domain.datasets.split import validation_count, validation_rows


def read(row: object) -> formats.Row:
    assert isinstance(row, dict)
    kind, mapping = formats.detect(row)
    return formats.convert(row, kind, mapping)


def chat(*turns: tuple[str, object], **more: object) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in turns], **more}


def test_messages_come_through_as_they_are() -> None:
    row = chat(("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello."))
    assert read(row) == row


def test_reasoning_is_found_wherever_it_stands() -> None:
    think = read(chat(("user", "2+2?"), ("assistant", "<think>\nTwo and two.\n</think>\n\n4")))
    field = {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}
    field["messages"][1]["reasoning_content"] = "Two and two."
    columns = read({"Question": "2+2?", "Complex_CoT": "Two and two.", "Response": "4"})
    answer = {"role": "assistant", "reasoning": "Two and two.", "content": "4"}
    assert think["messages"][-1] == read(field)["messages"][-1] == columns["messages"][-1] == answer


@pytest.mark.parametrize(
    "names",
    [
        ("Question", "Complex_CoT", "Response"),
        ("question", "reasoning", "answer"),
        ("Prompt", "Chain of thought", "Completion"),
    ],
)
def test_columns_are_found_by_name(names: tuple[str, str, str]) -> None:
    row = dict(zip(names, ("q", "r", "a"), strict=True)) | {"id": 7}
    kind, mapping = formats.detect(row)
    assert kind == "columns"
    assert [mapping[field] for field in ("question", "reasoning", "answer")] == list(names)


def test_typed_text_parts_are_joined_and_weights_kept() -> None:
    row = chat(
        ("user", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), ("assistant", "c"), ("assistant", "d")
    )
    row["messages"][1]["weight"] = 0  # type: ignore[index]
    turns = read(row)["messages"]
    assert (turns[0]["content"], turns[1]["weight"]) == ("ab", 0)


@pytest.mark.parametrize(
    "row, code",
    [
        (chat(("user", "Hi")), "no_assistant"),
        (chat(("assistant", "Hi")), "no_user"),
        (chat(("human", "Hi"), ("assistant", "Hello")), "unknown_role"),
        (chat(("user", "Hi"), ("assistant", " ")), "empty_content"),
        (chat(("user", 5), ("assistant", "x")), "no_content"),
        (chat(("user", [{"type": "image_url", "image_url": "x"}]), ("assistant", "x")), "not_text"),
        ({"messages": []}, "no_messages"),
        ({"messages": ["Hi"]}, "bad_turn"),
        ({"Question": "", "Response": "x"}, "empty_question"),
        ({"Question": "x", "Response": None}, "empty_answer"),
        ({"Question": "x", "Response": ["y"]}, "not_text"),
    ],
)
def test_a_bad_row_is_named_with_a_code_and_a_sentence(row: dict[str, object], code: str) -> None:
    with pytest.raises(formats.RowError) as caught:
        read(row)
    assert caught.value.code == code
    assert caught.value.message.endswith((".", "]}."))


@pytest.mark.parametrize("row, word", [({"foo": 1}, "`foo`"), ({}, "none"), ({"text": 5}, "`text`")])
def test_what_is_no_known_format_is_told_with_its_columns(row: dict[str, object], word: str) -> None:
    with pytest.raises(formats.FormatError, match=word):
        formats.detect(row)


NAMES = sorted({name for fields in formats.FIELDS.values() for field in fields for name in field.columns})
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["role", "content", "from", "value", "x"]), inner)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*NAMES, "foo"]), _json))
def test_whatever_stands_in_a_row_it_is_read_or_named(row: dict[str, object]) -> None:
    try:
        result = read(row)
    except (formats.RowError, formats.FormatError):
        return
    assert json.loads(json.dumps(result)) == result
    assert result.keys() & {"messages", "text", "prompt"}


@given(st.integers(0, 500), st.floats(0, 0.5), st.integers(0, 9999))
def test_the_split_always_leaves_a_row_to_train_on(rows: int, fraction: float, seed: int) -> None:
    held = validation_rows(rows, fraction, seed)
    assert len(held) == validation_count(rows, fraction)
    assert held == validation_rows(rows, fraction, seed)
    assert len(held) < max(rows, 1)
    assert all(0 <= number < rows for number in held)
