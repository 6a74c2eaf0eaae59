"""A conversation as text, and where in it the model speaks.

An assistant turn's characters are found by the template's `{% generation %}` marks, or else by unique markers that
stand in for the contents in one rendering, so a template that drops or rewrites an answer cannot do so unseen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from worker.trainer.chat import Chat, for_template
from worker.trainer.opening import shared
from worker.trainer.rows import Message

Tools = list[dict[str, Any]] | None
#: Characters by which the end of a turn is known again.
_ENDING = 24
_WORD = re.compile(r"[A-Za-z0-9]{1,20}")


class RowProblem(Exception):
    """Why a row can't be trained on as it stands: a code and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Turn:
    """An assistant turn in characters of the rendered text: its start, the end of its content, and where it is over."""

    start: int
    content_end: int
    stop: int
    supervised: bool
    plain: bool  # nothing but the end-of-turn token may follow the content


@dataclass(frozen=True)
class Rendered:
    """The text of a row. `changed`: it is not what the model's own template writes."""

    text: str
    turns: list[Turn]
    changed: bool


def render_turns(messages: list[Message], tools: Tools, chat: Chat) -> Rendered:
    """Raises `RowProblem` where the template does not write the conversation whole."""
    answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    if not answers:
        raise RowProblem("no_answer", "The conversation has no assistant message, so there is nothing to learn.")
    rendered = None
    if chat.has_marks and not chat.opening.tail and not any(m.get("reasoning") for m in messages):
        rendered = _by_marks(messages, answers, tools, chat)
    rendered = rendered or _by_markers(messages, answers, tools, chat)
    _check_whole(rendered, messages, answers)
    return rendered


# --- the template says itself what it generates -------------------------------------------------


def _by_marks(messages: list[Message], answers: list[int], tools: Tools, chat: Chat) -> Rendered | None:
    """None when the marks do not cover every assistant turn."""
    texts, spans = render_jinja_template(
        [[for_template(message) for message in messages]],
        tools=tools or None,
        chat_template=chat.tokenizer.get_chat_template(tools=tools or None),
        return_assistant_tokens_mask=True,
        **chat.tokenizer.special_tokens_map,
    )
    text, found = texts[0], spans[0]
    if len(found) != len(answers):
        return None
    if not text.startswith(chat.render(messages[: answers[-1]], tools, ask=True)):
        raise _prompt_differs()
    turns = []
    for index, (start, end) in zip(answers, found, strict=True):
        content = (messages[index].get("content") or "").rstrip()
        at = text.find(content, start, end)
        turns.append(_turn(messages[index], start, start if at < 0 else at + len(content), end))
    return Rendered(text, turns, changed=False)


def _turn(message: Message, start: int, content_end: int, stop: int) -> Turn:
    return Turn(start, content_end, stop, message.get("weight", 1) != 0, not message.get("tool_calls"))


def _prompt_differs() -> RowProblem:
    return RowProblem(
        "prompt_differs",
        "What the model reads when it is asked is not how this conversation begins; "
        "it would learn something it is never asked.",
    )


# --- markers in place of the contents -----------------------------------------------------------


def _content_marker(index: int) -> str:
    return f"Zq4c{index}c4qZ"


def _reasoning_marker(index: int) -> str:
    return f"Zq4r{index}r4qZ"


def _with_markers(messages: list[Message]) -> list[Message]:
    out: list[Message] = []
    for index, message in enumerate(messages):
        shown: Message = {**message}
        if message["role"] == "assistant" and message.get("content"):
            shown["content"] = _content_marker(index)
            if message.get("reasoning"):
                shown["reasoning"] = _reasoning_marker(index)
        out.append(shown)
    return out


@dataclass
class _Filled:
    """Text in which markers are replaced by what they stand for."""

    text: str = ""
    starts: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    #: The same without what is put in to go on from the prompt: what the template itself writes.
    own: str = ""


def _by_markers(messages: list[Message], answers: list[int], tools: Tools, chat: Chat) -> Rendered:
    marked = _with_markers(messages)
    filled = _fill(chat.render(marked, tools), messages, answers, chat)
    native = chat.render(messages, tools)
    if filled.own != native and not any(m.get("reasoning") for m in messages):
        raise RowProblem("content_changed", "The model's chat template rewrites an answer of this conversation.")

    def up_to(index: int, *, ask: bool) -> str:
        before = [i for i in answers if i < index]
        return _fill(chat.render(marked[:index], tools, ask=ask), messages, before, chat).text

    turns = []
    for index in answers:
        start = _start(index, filled, up_to(index, ask=True), last=index == answers[-1])
        end = max(start, filled.ends.get(index, start))
        stop = len(filled.text)
        if index != answers[-1] and (messages[index].get("tool_calls") or _goes_on(filled.text[end:], chat)):
            stop = _stop(filled.text, end, up_to(index + 1, ask=False))
        turns.append(_turn(messages[index], start, end, stop))
    return Rendered(filled.text, turns, changed=filled.text != native)


def _start(index: int, filled: _Filled, prompt: str, *, last: bool) -> int:
    if filled.text.startswith(prompt):
        return len(prompt)
    if not last and index in filled.starts:
        return filled.starts[index]  # an earlier turn that the template writes without what it asks with
    raise _prompt_differs()


def _stop(text: str, end: int, so_far: str) -> int:
    """Where a turn is over in `text`; `so_far` ends with that turn, but a template may write it otherwise."""
    same = len(shared([text, so_far]))
    ending = so_far[-_ENDING:]
    at = text.find(ending, max(0, end - _ENDING))
    return same if same == len(so_far) or at < 0 else at + len(ending)


def _goes_on(rest: str, chat: Chat) -> bool:
    """Something other than the end of turn follows, so where the turn is over must be looked for."""
    return not rest.lstrip().startswith(chat.end_of_turn_text or "\0")


def _fill(marked: str, messages: list[Message], answers: list[int], chat: Chat) -> _Filled:
    out = _Filled()
    parts: list[str] = []
    own: list[str] = []
    length = 0
    for index in answers:
        message = messages[index]
        if not message.get("content"):
            continue
        head, found, marked = marked.partition(_content_marker(index))
        if not found or _content_marker(index) in marked:
            raise RowProblem("content_repeated", "The model's chat template writes an answer twice, or not at all.")
        lead, content = _lead(head, index, message, chat), chat.trim(message["content"])
        out.starts[index] = length + len(lead)
        length += len(lead) + len(content)
        out.ends[index] = length
        parts += [lead, content]
        own += [head, content]
    out.text, out.own = "".join((*parts, marked)), "".join((*own, marked))
    return out


def _lead(head: str, index: int, message: Message, chat: Chat) -> str:
    """The text up to a content, with its reasoning where the template writes it, else where the model would."""
    reasoning = message.get("reasoning", "").strip("\n")
    kept = _reasoning_marker(index)
    if reasoning and kept in head:
        return head.replace(kept, reasoning)
    return chat.opening.lead(head, reasoning)


# --- nothing may be lost on the way -------------------------------------------------------------


def _check_whole(rendered: Rendered, messages: list[Message], answers: list[int]) -> None:
    for message in messages:
        if message["role"] != "assistant" and not _is_written(message, rendered.text):
            raise RowProblem(
                "message_dropped",
                f"The model's chat template leaves out a {message['role']} message of this conversation. "
                "Take it out of the row, or choose a model whose template writes it.",
            )
    for index, turn in zip(answers, rendered.turns, strict=True):
        calls = messages[index].get("tool_calls") or []
        if any(_name(call) not in rendered.text[turn.start : turn.stop] for call in calls):
            raise RowProblem(
                "tool_calls_dropped",
                "The model's chat template does not write tool calls, so the model would learn to say nothing. "
                "Leave the row out, or choose a model whose template knows tools.",
            )


def _is_written(message: Message, text: str) -> bool:
    content = (message.get("content") or "").strip()
    if message["role"] != "tool":
        return content in text
    word = _WORD.search(content)  # a tool's answer may be written as JSON, so only a word of it is looked for
    return word is None or word[0] in text


def _name(call: dict[str, Any]) -> str:
    function = call.get("function")
    return str(function.get("name", "")) if isinstance(function, dict) else str(call.get("name", ""))
