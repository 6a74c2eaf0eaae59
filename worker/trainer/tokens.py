"""Canonical rows to `input_ids` and `labels`: the one function behind both engines and the audit.

The conversation is rendered once and tokenised once. Each assistant turn's characters are found by the template's
marks, or else by unique markers that stand in for the contents in one rendering: none is dropped or rewritten unseen.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from worker.trainer.chat import Chat, TemplateRefused, for_template
from worker.trainer.rows import Message, Row, split_reasoning, with_reasoning

IGNORED = -100


class RowProblem(Exception):
    """Why a row can't be trained on as it stands: a code and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Encoded:
    """One row in tokens. `labels` has the length of `input_ids`, -100 where nothing is learned."""

    input_ids: list[int]
    labels: list[int]
    text: str
    offsets: list[tuple[int, int]]
    #: Tokens before the row was cut to the longest length allowed.
    full_length: int
    reasoning: bool
    #: The text differs from what the model's own template writes, because reasoning is kept.
    changed: bool

    @property
    def supervised(self) -> int:
        """Tokens the model learns to write."""
        return sum(label != IGNORED for label in self.labels)


@dataclass(frozen=True)
class _Turn:
    """An assistant turn in characters of the rendered text: where it starts, and where its content ends."""

    start: int
    content_end: int
    supervised: bool
    plain: bool  # nothing but the end-of-turn token may follow the content


@dataclass(frozen=True)
class _Rendered:
    text: str
    turns: list[_Turn]
    changed: bool


def encode(row: Row, chat: Chat, max_seq_length: int = 0) -> Encoded:
    """Tokenise one row, cut at its end to `max_seq_length` tokens (0: whole). Raises `RowProblem`."""
    cut = slice(0, max_seq_length or None)
    if "text" in row:
        return _encode_text(row["text"], chat, cut)
    messages = [_tidy(message) for message in chat.fit(row["messages"])]
    _refuse_control_tokens(messages, chat)
    try:
        rendered = _render(messages, row.get("tools"), chat)
    except TemplateRefused as exc:
        raise RowProblem("template_refused", f"The model's chat template refuses this conversation: {exc}") from exc
    ids, offsets = _tokenise(rendered.text, chat)
    labels = _label(ids, offsets, rendered.turns, chat)
    return Encoded(
        input_ids=ids[cut],
        labels=labels[cut],
        text=rendered.text,
        offsets=offsets[cut],
        full_length=len(ids),
        reasoning=any(message.get("reasoning") for message in messages),
        changed=rendered.changed,
    )


def _encode_text(text: str, chat: Chat, cut: slice) -> Encoded:
    """Plain text: no template; all of it is learned, and the model's own end closes it."""
    _refuse_control_tokens([{"role": "text", "content": text}], chat)
    begin = chat.begins_with
    ids, offsets = _tokenise(whole := f"{begin}{text}{chat.tokenizer.eos_token or ''}", chat)
    labels = [token if at >= len(begin) else IGNORED for token, (at, _) in zip(ids, offsets, strict=True)]
    return Encoded(ids[cut], labels[cut], whole, offsets[cut], len(ids), reasoning=False, changed=False)


def _tidy(message: Message) -> Message:
    """Reasoning that still stands in the content of an answer becomes its field."""
    if message["role"] != "assistant" or message.get("reasoning"):
        return message
    reasoning, content = split_reasoning(message.get("content") or "")
    return {**message, "content": content, "reasoning": reasoning} if reasoning else message


def _refuse_control_tokens(messages: list[Message], chat: Chat) -> None:
    for message in messages:
        text = f"{message.get('content') or ''}{message.get('reasoning', '')}"
        found = next((token for token in chat.control_tokens if token in text), None)
        if found:
            raise RowProblem(
                "control_token", f"The text contains {found}, which the model reads as a command. Remove it."
            )


def _render(messages: list[Message], tools: list[dict[str, Any]] | None, chat: Chat) -> _Rendered:
    answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    if not answers:
        raise RowProblem("no_answer", "The conversation has no assistant message, so there is nothing to learn.")
    if chat.has_marks and not chat.opens_think and not any(m.get("reasoning") for m in messages):
        marked = _render_by_marks(messages, answers, tools, chat)
        if marked:
            return marked
    return _render_by_markers(messages, answers, tools, chat)


# --- the template says itself what it generates -------------------------------------------------


def _render_by_marks(
    messages: list[Message], answers: list[int], tools: list[dict[str, Any]] | None, chat: Chat
) -> _Rendered | None:
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
        turns.append(_turn(messages[index], start, start if at < 0 else at + len(content)))
    return _Rendered(text, turns, changed=False)


def _turn(message: Message, start: int, content_end: int) -> _Turn:
    return _Turn(start, content_end, message.get("weight", 1) != 0, not message.get("tool_calls"))


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


def _render_by_markers(
    messages: list[Message], answers: list[int], tools: list[dict[str, Any]] | None, chat: Chat
) -> _Rendered:
    marked = _with_markers(messages)
    text, ends, starts = _fill(chat.render(marked, tools), messages, answers, chat)
    native = chat.render(messages, tools)
    if text != native and not chat.opens_think and not any(m.get("reasoning") for m in messages):
        raise RowProblem("content_changed", "The model's chat template rewrites an answer of this conversation.")
    turns = []
    for index in answers:
        before = [i for i in answers if i < index]
        prefix, _, _ = _fill(chat.render(marked[:index], tools, ask=True), messages, before, chat)
        if text.startswith(prefix):
            start = len(prefix)
        elif index != answers[-1] and index in starts:
            start = starts[index]  # an earlier turn that the template writes without what it asks with
        else:
            raise _prompt_differs()
        turns.append(_turn(messages[index], start, max(start, ends.get(index, start))))
    return _Rendered(text, turns, changed=text != native)


def _fill(
    marked: str, messages: list[Message], answers: list[int], chat: Chat
) -> tuple[str, dict[int, int], dict[int, int]]:
    """The markers replaced by what they stand for: the text, and each content's end and start in it."""
    parts: list[str] = []
    ends: dict[int, int] = {}
    starts: dict[int, int] = {}
    length = 0
    for index in answers:
        if not messages[index].get("content"):
            continue
        before, content = _around(marked, index, messages[index], chat)
        _, _, marked = marked.partition(_content_marker(index))
        if before is None or _content_marker(index) in marked:
            raise RowProblem("content_repeated", "The model's chat template writes an answer twice, or not at all.")
        parts += [before, content]
        starts[index] = length + len(before)
        length += len(before) + len(content)
        ends[index] = length
    return "".join((*parts, marked)), ends, starts


def _around(marked: str, index: int, message: Message, chat: Chat) -> tuple[str | None, str]:
    """The text up to a content, with its reasoning if the template keeps it, else the reasoning in the content."""
    head, found, _ = marked.partition(_content_marker(index))
    if not found:
        return None, ""
    reasoning, content = message.get("reasoning", ""), chat.trim(message["content"])
    kept = _reasoning_marker(index)
    if reasoning and kept in head:
        return head.replace(kept, reasoning.strip("\n")), content
    if (reasoning or chat.opens_think) and not head.rstrip().endswith("</think>"):
        return head, with_reasoning(reasoning.strip("\n"), content)
    if reasoning:
        raise RowProblem("reasoning_dropped", "The model's chat template leaves no place for this row's reasoning.")
    return head, content


# --- characters to tokens -----------------------------------------------------------------------


def _tokenise(text: str, chat: Chat) -> tuple[list[int], list[tuple[int, int]]]:
    found = chat.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids: list[int] = found["input_ids"]
    back = chat.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if not _same_text(back, text):
        raise RowProblem("decode_differs", "The model's tokenizer can't write this text: it comes back changed.")
    return ids, found["offset_mapping"]


def _same_text(back: str, text: str) -> bool:
    """Equal up to Unicode's composed form and the leading space that sentence-piece vocabularies add."""
    return back == text or _composed(back) == _composed(text)


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text).lstrip(" ")


def _label(ids: list[int], offsets: list[tuple[int, int]], turns: list[_Turn], chat: Chat) -> list[int]:
    labels = [IGNORED] * len(ids)
    for turn in turns:
        end = _end_of(turn, ids, offsets, chat)
        if not turn.supervised:
            continue
        for k in range(end, -1, -1):
            if offsets[k][0] < turn.start:
                break
            labels[k] = ids[k]
    return labels


def _end_of(turn: _Turn, ids: list[int], offsets: list[tuple[int, int]], chat: Chat) -> int:
    """Index of the end-of-turn token that closes `turn`."""
    for k, (start, _) in enumerate(offsets):
        if start >= turn.content_end and ids[k] == chat.end_of_turn:
            between = ids[_first_at(offsets, turn.content_end) : k]
            if turn.plain and chat.tokenizer.decode(between).strip():
                break
            return k
    raise RowProblem(
        "no_end_of_turn",
        "An answer is not closed by the model's end-of-turn token; the model would never learn to stop.",
    )


def _first_at(offsets: list[tuple[int, int]], position: int) -> int:
    return next((k for k, (start, _) in enumerate(offsets) if start >= position), len(offsets))
