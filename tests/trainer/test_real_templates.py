"""The tokenising function on chat templates as models publish them: exact on each, or a problem with a code."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_model import build_tiny_tokenizer
from tests.trainer.chats import learned
from worker.trainer.chat import Chat, chat_of
from worker.trainer.rows import Message, Row
from worker.trainer.tokens import Encoded, RowProblem, encode

REAL = Path(__file__).parent / "templates" / "real"
#: What closes an answer.
ENDS = {
    "deepseek-r1-distill": "<｜end▁of▁sentence｜>",
    "functionary-3.1": "<|eot_id|>",
    "gemma-2": "<end_of_turn>",
    "gpt-oss": "<|return|>",
    "granite-4": "<|end_of_text|>",
    "lfm2.5": "<|im_end|>",
    "llama-3.1": "<|eot_id|>",
    "llama-3.2": "<|eot_id|>",
    "mistral-nemo": "</s>",
    "nemotron-nano-2": "<SPECIAL_12>",
    "phi-3.5": "<|end|>",
    "qwen2.5": "<|im_end|>",
    "qwen3": "<|im_end|>",
    "qwen3.5": "<|im_end|>",
    "qwq": "<|im_end|>",
    "smollm2": "<|im_end|>",
    "smollm3": "<|im_end|>",
    "zephyr": "</s>",
}
#: The whole of what is learned of "red" and then "blue", without reasoning, where it is more than that and the end.
LEADS = {
    "deepseek-r1-distill": ("\n</think>\n\n", "\n</think>\n\n"),
    "gpt-oss": ("<|channel|>final<|message|>",) * 2,
    "nemotron-nano-2": ("\n</think>\n\n", "\n</think>\n\n"),
    "qwen3": ("", "<think>\n\n</think>\n\n"),
    "qwen3.5": ("\n</think>\n\n", "\n</think>\n\n"),
}
#: How the reasoning stands before an answer, where it is not `<think>` on lines of its own.
FORMS = {
    "deepseek-r1-distill": "{}\n</think>\n\n",
    "gpt-oss": "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>",
    "lfm2.5": "<think>{}</think>",
    "nemotron-nano-2": "{}\n</think>\n\n",
    "qwen3.5": "{}\n</think>\n\n",
}
#: What a call reads like; the others don't write calls.
CALLS = {
    "functionary-3.1": '<function=look>{"at": "sky"}</function><|eom_id|>',
    "gpt-oss": ' to=functions.look<|channel|>commentary json<|message|>{"at": "sky"}<|call|>',
    "granite-4": '<tool_call>\n{"name": "look", "arguments": {"at": "sky"}}\n</tool_call><|end_of_text|>',
    "lfm2.5": "<|tool_call_start|>[look(at='sky')]<|tool_call_end|><|im_end|>",
    "llama-3.1": '{"name": "look", "parameters": {"at": "sky"}}<|eot_id|>',
    "llama-3.2": '{"name": "look", "parameters": {"at": "sky"}}<|eot_id|>',
    "mistral-nemo": '[TOOL_CALLS][{"name": "look", "arguments": {"at": "sky"}, "id": "call12345"}]</s>',
    "qwen2.5": '<tool_call>\n{"name": "look", "arguments": {"at": "sky"}}\n</tool_call><|im_end|>',
    "qwen3": '<tool_call>\n{"name": "look", "arguments": {"at": "sky"}}\n</tool_call><|im_end|>',
    "qwen3.5": "\n</think>\n\n<tool_call>\n<function=look>\n<parameter=at>\nsky\n</parameter>\n"
    "</function>\n</tool_call><|im_end|>",
}
ALL = sorted(ENDS)
_SPECIAL = re.compile(
    r"<[|｜][^|｜<>{}'\"\n]{1,40}[|｜]>|\[/?(?:INST|TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS)\]"
    r"|<(?:start|end)_of_turn>|<SPECIAL_\d+>"
)


@cache
def chat(name: str, more: tuple[str, ...] = ()) -> Chat:
    """The template with a small tokenizer that has the template's own special tokens, and `more` as plain ones."""
    source = (REAL / f"{name}.jinja").read_text("utf-8").removesuffix("\n")
    start = "<|begin_of_text|>" if "<|begin_of_text|>" in source else "<s>"
    special = [token for token in dict.fromkeys(_SPECIAL.findall(source)) if token not in {start, ENDS[name]}]
    tokenizer = build_tiny_tokenizer(("<|pad|>", start, *special, ENDS[name]))
    tokenizer.add_tokens(list(more))
    tokenizer.bos_token = start
    tokenizer.chat_template = source
    return chat_of(tokenizer)


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def answer(content: str, **more: Any) -> Message:
    return {"role": "assistant", "content": content, **more}  # type: ignore[typeddict-item]


def exact(row: Row, of: Chat) -> Encoded:
    """Encode, and check what must hold for any row on any template."""
    encoded = encode(row, of)
    assert of.tokenizer.decode(encoded.input_ids) == encoded.text
    last = max(k for k, message in enumerate(row["messages"]) if message["role"] == "assistant")
    prompt = of.render(of.fit(row["messages"][:last]), row.get("tools"), ask=True)
    if last == 1:  # in later turns a prompt shows earlier answers as the template has them
        assert encoded.text.startswith(prompt)
        assert encoded.input_ids[: len(of.ids(prompt))] == of.ids(prompt)
    assert all(label in {-100, token} for label, token in zip(encoded.labels, encoded.input_ids, strict=True))
    return encoded


@pytest.mark.parametrize("name", ALL)
def test_each_answer_and_its_end_are_learned_and_nothing_else(name: str) -> None:
    row: Row = {"messages": [user("Say one."), answer("red"), user("And two?"), answer("blue")]}
    leads = LEADS.get(name, ("", ""))
    earlier = "<|end|>" if name == "gpt-oss" else ENDS[name]  # it ends earlier answers otherwise than the last
    closes = "\n" if name == "nemotron-nano-2" else ""
    assert learned(exact(row, chat(name)), chat(name)) == [
        f"{leads[0]}red{closes}{earlier}",
        f"{leads[1]}blue{closes}{ENDS[name]}",
    ]
    exact({"messages": row["messages"][:2]}, chat(name))


@pytest.mark.parametrize("name", ALL)
def test_reasoning_is_learned_on_every_turn_in_the_models_own_form(name: str) -> None:
    first, second = answer("red", reasoning="They want red."), answer("blue", reasoning="Now blue.")
    row: Row = {"messages": [user("Say one."), first, user("And two?"), second]}
    if name == "qwq":  # this one is asked with its thinking closed
        assert "They want red." in learned(exact(row, chat(name)), chat(name))[0]
        return
    found = learned(exact(row, chat(name)), chat(name))
    form = FORMS.get(name, "<think>\n{}\n</think>\n\n")
    assert [text.split("red" if k == 0 else "blue")[0] for k, text in enumerate(found)] == [
        form.format("They want red.").split("red")[0],
        form.format("Now blue.").split("blue")[0],
    ]
    assert found[0].startswith(form.format("They want red.") + "red")
    assert found[1].startswith(form.format("Now blue.") + "blue")
    single = exact({"messages": row["messages"][:2]}, chat(name))
    assert not re.search(r"<think>\s*<think>", single.text)
    assert single.reasoning


@pytest.mark.parametrize("name", ALL)
def test_a_system_message_is_read_and_not_learned(name: str) -> None:
    row: Row = {"messages": [{"role": "system", "content": "You repeat."}, user("Say one."), answer("red")]}
    encoded = encode(row, chat(name))
    assert "You repeat." in encoded.text
    assert "You repeat." not in "".join(learned(encoded, chat(name)))


@pytest.mark.parametrize("name", ALL)
def test_a_call_is_learned_up_to_its_end_or_the_row_is_refused(name: str) -> None:
    call = {"type": "function", "id": "call12345", "function": {"name": "look", "arguments": '{"at": "sky"}'}}
    parameters = {"type": "object", "properties": {"at": {"type": "string", "description": "where"}}}
    row: Row = {
        "messages": [
            user("Is it blue?"),
            answer("", tool_calls=[call]),
            {"role": "tool", "content": "cloudy", "tool_call_id": "call12345"},
            answer("No."),
        ],
        "tools": [{"type": "function", "function": {"name": "look", "description": "L", "parameters": parameters}}],
    }
    if name not in CALLS:
        with pytest.raises(RowProblem) as caught:
            encode(row, chat(name))
        assert caught.value.code in {"tool_calls_dropped", "template_refused", "message_dropped", "prompt_differs"}
        return
    encoded = exact(row, chat(name))
    found = learned(encoded, chat(name))
    assert found[0] == CALLS[name]
    assert found[1].endswith(f"No.{ENDS[name]}")
    assert "cloudy" in encoded.text
    assert "cloudy" not in "".join(found)


def test_the_prompts_last_token_is_not_merged_with_the_answers_first() -> None:
    """A vocabulary with two line breaks as one token: the model is asked with one of them."""
    of = chat("deepseek-r1-distill", ("\n\n",))
    assert len(of.ids("\n\n")) == 1
    encoded = exact({"messages": [user("Say one."), answer("red")]}, of)
    assert learned(encoded, of) == ["\n</think>\n\nred<｜end▁of▁sentence｜>"]


def test_a_message_that_the_template_leaves_out_is_a_problem() -> None:
    row: Row = {"messages": [user("Say one."), answer("red"), {"role": "tool", "content": "cloudy"}, answer("blue")]}
    with pytest.raises(RowProblem) as caught:
        encode(row, chat("phi-3.5"))
    assert caught.value.code == "message_dropped"
