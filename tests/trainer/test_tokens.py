"""What is supervised: the same answers for every shape of chat template."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.trainer.chats import SPECIAL, chat, learned
from worker.trainer.rows import Message, Row, split_reasoning, with_reasoning
from worker.trainer.tokens import RowProblem, encode

ALL = sorted(SPECIAL)
#: Text as people write it: no lone surrogates, and something that is not white space.
text = st.text(st.characters(codec="utf-8", exclude_characters="<>[]"), min_size=1, max_size=40).filter(str.strip)


def turns(*pairs: tuple[str, str]) -> Row:
    """A conversation of questions and answers."""
    messages: list[Message] = []
    for question, answer in pairs:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages}


def thinking(*triples: tuple[str, str, str]) -> Row:
    """The same with the reasoning of each answer."""
    row = turns(*((question, answer) for question, _, answer in triples))
    for message, (_, reasoning, _) in zip(row["messages"][1::2], triples, strict=True):
        message["reasoning"] = reasoning
    return row


def before_answer(name: str) -> str:
    """What stands between the prompt and an answer without reasoning."""
    return {"mistral": " ", "qwen3": "<think>\n\n</think>\n\n", "r1": "\n</think>\n\n"}.get(name, "")


@pytest.mark.parametrize("name", ALL)
def test_the_answer_and_its_end_are_learned_and_nothing_else(name: str) -> None:
    encoded = encode(turns(("Say red.", "red it is")), chat(name))
    assert learned(encoded, chat(name)) == [before_answer(name) + "red it is" + SPECIAL[name][-1]]


@pytest.mark.parametrize("name", ALL)
def test_each_answer_of_a_longer_conversation_is_learned(name: str) -> None:
    encoded = encode(turns(("Say red.", "red"), ("And blue?", "blue")), chat(name))
    found = learned(encoded, chat(name))
    assert [part.removesuffix(SPECIAL[name][-1]).split()[-1] for part in found] == ["red", "blue"]
    assert all(part.endswith(SPECIAL[name][-1]) for part in found)


@pytest.mark.parametrize("name", ALL)
@given(question=text, answer=text)
@example(question="0", answer="\n0")
def test_any_text_is_tokenised_whole(name: str, question: str, answer: str) -> None:
    of = chat(name)
    if name == "qwen3" and answer.startswith("\n"):  # its template drops the line breaks that an answer begins with
        with pytest.raises(RowProblem) as refused:
            encode(turns((question, answer)), of)
        assert refused.value.code == "content_changed"
        return
    encoded = encode(turns((question, answer)), of)
    assert of.tokenizer.decode(encoded.input_ids) == encoded.text
    assert learned(encoded, of)[-1].endswith(of.trim(answer) + SPECIAL[name][-1])
    assert of.ids(of.prompt("", question)) == encoded.input_ids[: len(of.ids(of.prompt("", question)))]


@pytest.mark.parametrize("name", ALL)
def test_what_is_asked_is_how_the_training_text_begins(name: str) -> None:
    encoded = encode(turns(("Say red.", "red")), chat(name))
    assert encoded.text.startswith(chat(name).prompt("", "Say red."))


@pytest.mark.parametrize("name", ALL)
def test_reasoning_is_learned_on_every_turn(name: str) -> None:
    encoded = encode(thinking(("Say red.", "They want red.", "red"), ("Blue?", "Now blue.", "blue")), chat(name))
    found = learned(encoded, chat(name))
    assert len(found) == 2
    assert "They want red.\n</think>\n\nred" in found[0]
    assert "Now blue.\n</think>\n\nblue" in found[1]
    assert encoded.text.count("<think>") == 2
    assert encoded.reasoning
    assert encoded.changed


def test_a_template_that_keeps_reasoning_is_not_changed() -> None:
    encoded = encode(thinking(("Say red.", "They want red.", "red")), chat("qwen3"))
    assert not encoded.changed
    assert learned(encoded, chat("qwen3")) == ["<think>\nThey want red.\n</think>\n\nred<|im_end|>"]


def test_reasoning_left_in_the_content_is_found() -> None:
    inline = encode(turns(("Say red.", "<think>\nThey want red.\n</think>\n\nred")), chat("r1"))
    field = encode(thinking(("Say red.", "They want red.", "red")), chat("r1"))
    assert inline.input_ids == field.input_ids
    assert inline.labels == field.labels


def test_the_think_tag_of_the_generation_prompt_is_not_doubled_and_not_learned() -> None:
    encoded = encode(thinking(("Say red.", "They want red.", "red")), chat("r1"))
    assert encoded.text.count("<think>") == 1
    assert learned(encoded, chat("r1")) == ["They want red.\n</think>\n\nred<|end_of_sentence|>"]


@pytest.mark.parametrize("name", ALL)
def test_a_turn_of_weight_zero_is_read_but_not_learned(name: str) -> None:
    row = turns(("Say red.", "red"), ("And blue?", "blue"))
    row["messages"][1]["weight"] = 0
    found = learned(encode(row, chat(name)), chat(name))
    assert len(found) == 1
    assert "blue" in found[0]


@pytest.mark.parametrize("name", ALL)
def test_a_system_message_reaches_the_model(name: str) -> None:
    row = turns(("Say red.", "red"))
    row["messages"].insert(0, {"role": "system", "content": "You repeat words."})
    assert "You repeat words." in encode(row, chat(name)).text
    assert chat(name).folds_system is (name == "gemma")


def test_a_tool_call_is_learned_and_its_answer_is_not() -> None:
    call: dict[str, Any] = {"type": "function", "function": {"name": "look", "arguments": '{"at": "sky"}'}}
    row: Row = {
        "messages": [
            {"role": "user", "content": "Is it blue?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "blue"},
            {"role": "assistant", "content": "Yes."},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "parameters": {}}}],
    }
    found = learned(encode(row, chat("qwen3")), chat("qwen3"))
    assert found[0] == '<tool_call>\n{"name": "look", "arguments": {"at": "sky"}}\n</tool_call><|im_end|>'
    assert found[1].endswith("Yes.<|im_end|>")


@pytest.mark.parametrize("name", ALL)
def test_a_long_row_is_cut_at_its_end(name: str) -> None:
    whole = encode(turns(("Say red.", "red " * 50)), chat(name))
    cut = encode(turns(("Say red.", "red " * 50)), chat(name), max_seq_length=30)
    assert cut.input_ids == whole.input_ids[:30]
    assert cut.labels == whole.labels[:30]
    assert cut.full_length == len(whole.input_ids)


@pytest.mark.parametrize(
    ("name", "row", "code"),
    [
        ("chatml", turns(("Say red.", "red<|im_end|>blue")), "control_token"),
        ("mistral", turns(("Say </s>", "red")), "control_token"),
        ("chatml", {"messages": [{"role": "user", "content": "Say red."}]}, "no_answer"),
        (
            "gemma",
            {"messages": [*turns(("a", "b"))["messages"], {"role": "assistant", "content": "c"}]},
            "template_refused",
        ),
    ],
)
def test_a_row_that_breaks_a_rule_is_named(name: str, row: Row, code: str) -> None:
    with pytest.raises(RowProblem) as caught:
        encode(row, chat(name))
    assert caught.value.code == code


def test_a_template_without_end_of_turn_is_a_problem() -> None:
    from tests.tiny_model import build_tiny_tokenizer
    from worker.trainer.chat import chat_of

    tokenizer = build_tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    with pytest.raises(RowProblem) as caught:
        encode(turns(("Say red.", "red")), chat_of(tokenizer))
    assert caught.value.code == "no_end_of_turn"


def test_a_base_model_without_template_is_given_a_plain_one() -> None:
    from tests.tiny_model import build_tiny_tokenizer
    from worker.trainer.chat import chat_of

    tokenizer = build_tiny_tokenizer()
    tokenizer.chat_template = None
    of = chat_of(tokenizer)
    assert learned(encode(turns(("Say red.", "red")), of), of) == ["red<|im_end|>"]
    assert tokenizer.chat_template


def test_padding_is_never_the_end_of_turn() -> None:
    from tests.tiny_model import build_tiny_tokenizer
    from worker.trainer.chat import chat_of

    tokenizer = build_tiny_tokenizer()
    tokenizer.pad_token = "<|im_end|>"
    assert chat_of(tokenizer).tokenizer.pad_token == "<|pad|>"


@given(reasoning=text.map(str.strip), answer=text.map(str.strip))
def test_reasoning_and_answer_come_apart_again(reasoning: str, answer: str) -> None:
    assert split_reasoning(with_reasoning(reasoning, answer)) == (reasoning, answer)


def test_an_unclosed_thought_is_all_reasoning() -> None:
    assert split_reasoning("<think>\nstill thinking") == ("still thinking", "")


@pytest.mark.parametrize("name", ALL)
def test_plain_text_is_learned_as_a_whole_with_the_models_own_end(name: str) -> None:
    of = chat(name)
    encoded = encode({"text": "Once upon a time."}, of)
    assert "".join(learned(encoded, of)) == "Once upon a time." + of.tokenizer.eos_token
    assert len(encode({"text": "Once upon a time."}, of, max_seq_length=2).input_ids) == 2


def test_a_control_token_in_a_plain_text_is_refused() -> None:
    of = chat("chatml")
    with pytest.raises(RowProblem, match="reads as a command"):
        encode({"text": f"Once {of.control_tokens[0]}"}, of)
