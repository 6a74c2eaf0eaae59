"""Every format that a file may have, with rows as the field writes them."""

from __future__ import annotations

import json

import pytest

from app.domain.datasets import formats

CALL = {"name": "weather", "arguments": {"city": "Oslo"}}
TOOL = {"name": "weather", "description": "The weather of a city.", "parameters": {"type": "object"}}
KEPT_CALL = {"type": "function", "function": CALL}
KEPT_TOOL = {"type": "function", "function": TOOL}


def read(row: formats.Row) -> tuple[str, formats.Row]:
    kind, mapping = formats.detect(row)
    return kind, formats.convert(row, kind, mapping)


def said(row: formats.Row, name: str = "messages") -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in row[name]]


def refused(row: formats.Row) -> str:
    with pytest.raises(formats.RowError) as caught:
        read(row)
    assert caught.value.message.endswith(".")
    return caught.value.code


def test_sharegpt_with_its_role_names_and_tools() -> None:
    turns = [
        {"from": "human", "value": "Is it warm in Oslo?"},
        {"from": "function_call", "value": json.dumps(CALL)},
        {"from": "observation", "value": '{"celsius": 4}'},
        {"from": "gpt", "value": "No, 4 degrees."},
    ]
    kind, row = read({"conversations": turns, "tools": json.dumps([TOOL]), "system": "Be brief."})
    assert kind == "sharegpt"
    assert [turn["role"] for turn in row["messages"]] == ["system", "user", "assistant", "tool", "assistant"]
    assert row["messages"][2]["tool_calls"] == [KEPT_CALL]
    assert (row["tools"], row["messages"][0]["content"]) == ([KEPT_TOOL], "Be brief.")


def test_conversations_may_have_openais_turns_and_messages_sharegpts() -> None:
    openai = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    theirs = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]
    assert read({"conversations": openai})[0] == "messages"
    assert read({"messages": theirs})[0] == "sharegpt"
    assert read({"conversations": openai})[1] == read({"messages": theirs})[1] == {"messages": openai}
    assert read({"messages": json.dumps(openai)})[1] == {"messages": openai}


def test_typed_parts_and_the_weight_of_a_turn() -> None:
    parts = [{"type": "reasoning", "text": "Short."}, {"type": "text", "value": "Hello."}]
    turns = [
        {"role": "user", "content": [{"type": "text", "value": "Hi"}], "loss_weight": 0.0},
        {"role": "assistant", "content": "Hm.", "weight": 0},
        {"role": "user", "content": ["Hi ", {"type": "input_text", "text": "again"}]},
        {"role": "assistant", "content": parts, "loss_weight": 1.0},
    ]
    row = read({"messages": turns})[1]
    assert said(row) == [("user", "Hi"), ("assistant", "Hm."), ("user", "Hi again"), ("assistant", "Hello.")]
    assert [turn.get("weight") for turn in row["messages"]] == [None, 0, None, 1]
    assert row["messages"][3]["reasoning"] == "Short."


def test_calls_of_tools_come_in_one_shape() -> None:
    ways: list[formats.Row] = [
        {"content": None, "tool_calls": [{"id": "c1", "type": "function", "function": CALL}]},
        {"tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": json.dumps(CALL["arguments"])}}]},
        {"content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": CALL["arguments"]}]},
    ]
    for way in ways:
        answer = {"role": "tool", "tool_call_id": "c1", "content": ""}
        turns = [{"role": "user", "content": "?"}, {"role": "assistant"} | way, answer]
        row = read({"messages": turns, "functions": [TOOL]})[1]
        assert row["messages"][1] == {"role": "assistant", "content": "", "tool_calls": [{"id": "c1"} | KEPT_CALL]}
        assert row["messages"][2]["tool_call_id"] == "c1"
        assert row["tools"] == [KEPT_TOOL]


def test_alpaca_with_input_system_and_history() -> None:
    history = [["Hi", "Hello."], ["Who are you?", "<think>Me.</think>A model."]]
    row = {"instruction": "Add these.", "input": "1 and 2", "output": "3", "system": "Count.", "history": history}
    kind, kept = read(row)
    assert kind == "alpaca"
    assert said(kept)[:3] == [("system", "Count."), ("user", "Hi"), ("assistant", "Hello.")]
    assert said(kept)[-2:] == [("user", "Add these.\n1 and 2"), ("assistant", "3")]
    assert kept["messages"][4]["reasoning"] == "Me."
    assert said(read({"instruction": "Hi", "input": "", "output": "Hello."})[1])[0] == ("user", "Hi")


def test_prompts_and_completions_as_texts_or_turns() -> None:
    kind, row = read({"prompt": "2+2?", "completion": "<think>Easy.</think>4"})
    assert (kind, row["messages"][1]["reasoning"]) == ("prompt_completion", "Easy.")
    prompt = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    row = read({"prompt": [*prompt, prompt[0]], "completion": [{"role": "assistant", "content": "4"}]})[1]
    assert [turn.get("weight") for turn in row["messages"]] == [None, 0, None, None]


def test_a_text_in_brackets_stays_a_text() -> None:
    assert said(read({"prompt": "[1, 2]", "completion": "[3]"})[1]) == [("user", "[1, 2]"), ("assistant", "[3]")]


def test_preferences_are_kept_as_they_are() -> None:
    kind, row = read({"prompt": "2+2?", "chosen": "4", "rejected": "5"})
    assert (kind, said(row, "prompt"), said(row, "chosen")) == ("preference", [("user", "2+2?")], [("assistant", "4")])
    user, good, bad = ({"role": r, "content": c} for r, c in (("user", "2+2?"), ("assistant", "4"), ("assistant", "5")))
    assert read({"chosen": [user, good], "rejected": [user, bad]})[1] == row
    assert read({"prompt": "2+2?", "chosen": [user, good], "rejected": [user, bad]})[1] == row
    kind, row = read({"prompt": "2+2?", "completion": "4", "label": True})
    assert (kind, row["label"], said(row, "completion")) == ("labelled", True, [("assistant", "4")])
    assert {"preference", "labelled"} == formats.NOT_TRAINED


def test_plain_text() -> None:
    assert read({"text": "Once upon a time."}) == ("text", {"text": "Once upon a time."})


def test_the_rest_of_a_column_is_found_in_later_rows() -> None:
    rows = [{"Question": "q", "Response": "a"}, {"Question": "q", "Complex_CoT": "r", "Response": "a"}, 7]
    kind, mapping = formats.detect(formats.merged(rows))
    assert (kind, mapping["reasoning"]) == ("columns", "Complex_CoT")


@pytest.mark.parametrize(
    "answer, content, reasoning",
    [
        ("<think>Why.</think>Because.", "Because.", "Why."),
        ("Why.\n</think>\n\nBecause.", "Because.", "Why."),
        ("<think>\n\n</think>\n\nBecause.", "Because.", None),
        ("The mark <think> opens and </think> closes.", "The mark <think> opens and </think> closes.", None),
    ],
)
def test_reasoning_at_the_start_of_an_answer(answer: str, content: str, reasoning: str | None) -> None:
    turn = read({"question": "?", "answer": answer})[1]["messages"][1]
    assert (turn["content"], turn.get("reasoning")) == (content, reasoning)


def asked(**answer: object) -> formats.Row:
    return {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"} | answer]}


@pytest.mark.parametrize(
    "row, code",
    [
        (asked(content="<think>Why"), "open_think"),
        (asked(content="<think>One.</think>!", reasoning="Other."), "two_reasonings"),
        (asked(thinking=["a"]), "bad_reasoning"),
        (asked(weight=0.5), "bad_weight"),
        (asked(weight=0), "nothing_learned"),
        (asked(tool_calls=[7]), "bad_tool_call"),
        (asked(tool_calls=[{"function": {"name": "f", "arguments": "not json"}}]), "bad_tool_call"),
        (asked() | {"tools": "not json"}, "bad_tools"),
        (asked() | {"tools": [{"type": "function"}]}, "bad_tools"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "not_text"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "not_text"),
        ({"messages": [{"role": "user", "content": [{"type": "thinking", "thinking": "x"}]}]}, "not_text"),
        ({"conversations": [{"from": "robot", "value": "x"}]}, "unknown_role"),
        ({"conversations": [{"from": "function_call", "value": ""}]}, "bad_tool_call"),
        ({"instruction": "a", "output": ""}, "empty_answer"),
        ({"instruction": "a", "output": "b", "history": [["x"]]}, "bad_history"),
        ({"instruction": "a", "output": "b", "history": "nonsense"}, "bad_history"),
        ({"instruction": "a", "output": "b", "history": True}, "bad_history"),
        ({"chosen": "x", "rejected": "y"}, "no_pair"),
        ({"question": "a", "answer": "<think>b</think>"}, "empty_answer"),
    ],
)
def test_what_is_wrong_with_a_row_has_a_code_and_a_sentence(row: formats.Row, code: str) -> None:
    assert refused(row) == code
