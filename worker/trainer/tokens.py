"""Canonical rows to `input_ids` and `labels`: the one function behind both engines and the audit.

The conversation is rendered once and tokenised once; the assistant's turns, found in the characters of the text
(`turns.py`), become labels by the tokens' places. `encode` does one row, `encode_many` the same on several cores.
"""

from __future__ import annotations

import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from worker.trainer.chat import Chat, TemplateRefused
from worker.trainer.places import Offset, Read, Tokens, in_pieces, tokenise
from worker.trainer.rows import Message, Row, split_reasoning
from worker.trainer.turns import Rendered, RowProblem, Turn, render_turns

__all__ = ["IGNORED", "Encoded", "RowProblem", "encode", "encode_many"]

IGNORED = -100
_BATCH = 32


@dataclass(frozen=True)
class Encoded:
    """One row in tokens. `labels` has the length of `input_ids`, -100 where nothing is learned."""

    input_ids: list[int]
    labels: list[int]
    text: str
    #: Each token's characters in `text`; left out by `encode_many`.
    offsets: list[Offset]
    #: Tokens before the row was cut to the longest length allowed.
    full_length: int
    reasoning: bool
    #: The text differs from what the model's own template writes, because reasoning is kept.
    changed: bool

    @property
    def supervised(self) -> int:
        """Tokens the model learns to write."""
        return sum(label != IGNORED for label in self.labels)


def encode(row: Row, chat: Chat, max_seq_length: int = 0) -> Encoded:
    """Tokenise one row, cut at its end to `max_seq_length` tokens (0: whole). Raises `RowProblem`."""
    prepared = _prepare(row, chat)
    tokens, back = tokenise([prepared.rendered.text], chat)[0]
    encoded = _finish(prepared, tokens, back, chat, with_offsets=True)
    if not max_seq_length:
        return encoded
    ids, labels, offsets = encoded.input_ids, encoded.labels, encoded.offsets
    cut = slice(0, max_seq_length)
    rest = (encoded.text, offsets[cut], encoded.full_length, encoded.reasoning, encoded.changed)
    return Encoded(ids[cut], labels[cut], *rest)


def encode_many(rows: Iterable[Row], chat: Chat, threads: int) -> Iterator[Encoded | RowProblem]:
    """`encode` for each of `rows`, in their order; a few batches are in memory at a time, without offsets.

    Tokenising and reading back leave the interpreter free, so that `threads` of them run beside the rest.
    """
    waiting: deque[tuple[list[_Prepared | RowProblem], Future[list[Read]]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        source = iter(rows)
        while batch := list(islice(source, _BATCH)):
            prepared = [_prepared(row, chat) for row in batch]
            texts = [each.rendered.text for each in prepared if isinstance(each, _Prepared)]
            waiting.append((prepared, pool.submit(tokenise, texts, chat)))
            if len(waiting) > threads + 1:
                yield from _finished(*waiting.popleft(), chat)
        while waiting:
            yield from _finished(*waiting.popleft(), chat)


def _finished(
    batch: list[_Prepared | RowProblem], tokenised: Future[list[Read]], chat: Chat
) -> Iterator[Encoded | RowProblem]:
    found = iter(tokenised.result())
    for each in batch:
        if isinstance(each, RowProblem):
            yield each
            continue
        try:
            yield _finish(each, *next(found), chat, with_offsets=False)
        except RowProblem as problem:
            yield problem


# --- a row to its text --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Prepared:
    rendered: Rendered
    reasoning: bool = False
    #: Of plain text: from this character on all is learned.
    learned_from: int | None = None


def _prepared(row: Row, chat: Chat) -> _Prepared | RowProblem:
    try:
        return _prepare(row, chat)
    except RowProblem as problem:
        return problem


def _prepare(row: Row, chat: Chat) -> _Prepared:
    if "text" in row:
        return _prepare_text(row["text"], chat)
    messages = [_tidy(message) for message in chat.fit(row["messages"])]
    _refuse_control_tokens(messages, chat)
    try:
        rendered = render_turns(messages, row.get("tools"), chat)
    except TemplateRefused as exc:
        raise RowProblem("template_refused", f"The model's chat template refuses this conversation: {exc}") from exc
    return _Prepared(rendered, any(message.get("reasoning") for message in messages))


def _prepare_text(text: str, chat: Chat) -> _Prepared:
    """Plain text: no template; all of it is learned, and the model's own end closes it."""
    _refuse_control_tokens([{"role": "text", "content": text}], chat)
    begin = chat.begins_with
    whole = f"{begin}{text}{chat.tokenizer.eos_token or ''}"
    return _Prepared(Rendered(whole, [], changed=False), learned_from=len(begin))


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


def _same_text(back: str, text: str) -> bool:
    """Equal up to Unicode's composed form and the leading space that sentence-piece vocabularies add."""
    if back == text:
        return True
    plain = [unicodedata.normalize("NFC", t).lstrip(" ") for t in (back, text)]
    return plain[0] == plain[1]


# --- tokens to labels ---------------------------------------------------------------------------


def _finish(prepared: _Prepared, tokens: Tokens, back: str, chat: Chat, *, with_offsets: bool) -> Encoded:
    text, turns = prepared.rendered.text, prepared.rendered.turns
    if any(tokens.merges(turn.start) for turn in turns):
        tokens, back = in_pieces(text, turns, chat)
    if not _same_text(back, text):
        raise RowProblem("decode_differs", "The model's tokenizer can't write this text: it comes back changed.")
    return Encoded(
        input_ids=tokens.ids,
        labels=_learned(tokens, prepared.learned_from, turns, chat),
        text=text,
        offsets=tokens.offsets if with_offsets else [],
        full_length=len(tokens.ids),
        reasoning=prepared.reasoning,
        changed=prepared.rendered.changed,
    )


def _learned(tokens: Tokens, start: int | None, turns: list[Turn], chat: Chat) -> list[int]:
    if start is None:
        return _label(tokens, turns, chat)
    first = tokens.first_at(start)
    return [IGNORED] * first + tokens.ids[first:]


def _label(tokens: Tokens, turns: list[Turn], chat: Chat) -> list[int]:
    ids = tokens.ids
    labels = [IGNORED] * len(ids)
    for turn in turns:
        end = _end_of(turn, tokens, chat)
        if turn.supervised:
            first = tokens.first_at(turn.start)
            labels[first : end + 1] = ids[first : end + 1]
    return labels


def _closes(token: int, chat: Chat) -> bool:
    return token == chat.end_of_turn or token in chat.control_ids


def _end_of(turn: Turn, tokens: Tokens, chat: Chat) -> int:
    """Index of the token that closes `turn`: the end-of-turn token, or what the template closes earlier turns with."""
    ids, first, stop = tokens.ids, tokens.first_at(turn.content_end), tokens.first_at(turn.stop)
    control = [k for k in range(first, stop) if _closes(ids[k], chat)] or _just_after(stop, ids, chat)
    if control and not turn.plain:
        return next((k for k in control if ids[k] == chat.end_of_turn), control[-1])
    if chat.end_of_turn is not None and control and not _says(ids[first : control[0]], chat):
        return control[0]
    raise RowProblem(
        "no_end_of_turn",
        "An answer is not closed by the model's end-of-turn token; the model would never learn to stop.",
    )


def _just_after(stop: int, ids: list[int], chat: Chat) -> list[int]:
    """For templates that leave the closing token away while a turn is the last one."""
    found = next((k for k in range(stop, len(ids)) if _closes(ids[k], chat)), None)
    return [] if found is None or _says(ids[stop:found], chat) else [found]


def _says(ids: list[int], chat: Chat) -> bool:
    return bool(ids) and bool(chat.tokenizer.decode(ids).strip())
