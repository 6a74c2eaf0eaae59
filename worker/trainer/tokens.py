"""Canonical rows to `input_ids` and `labels`: the one function behind both engines and the audit.

The conversation is rendered once and tokenised once; the assistant's turns, found in the characters of the text
(`turns.py`), become labels by the tokens' offsets.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise

from worker.trainer.chat import Chat, TemplateRefused
from worker.trainer.rows import Message, Row, split_reasoning
from worker.trainer.turns import RowProblem, Turn, render_turns

__all__ = ["IGNORED", "Encoded", "RowProblem", "encode"]

IGNORED = -100
Offset = tuple[int, int]


@dataclass(frozen=True)
class Encoded:
    """One row in tokens. `labels` has the length of `input_ids`, -100 where nothing is learned."""

    input_ids: list[int]
    labels: list[int]
    text: str
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
    messages = [_tidy(message) for message in chat.fit(row["messages"])]
    _refuse_control_tokens(messages, chat)
    try:
        rendered = render_turns(messages, row.get("tools"), chat)
    except TemplateRefused as exc:
        raise RowProblem("template_refused", f"The model's chat template refuses this conversation: {exc}") from exc
    ids, offsets = _tokenise(rendered.text, rendered.turns, chat)
    labels = _label(ids, offsets, rendered.turns, chat)
    cut = slice(0, max_seq_length or None)
    return Encoded(
        input_ids=ids[cut],
        labels=labels[cut],
        text=rendered.text,
        offsets=offsets[cut],
        full_length=len(ids),
        reasoning=any(message.get("reasoning") for message in messages),
        changed=rendered.changed,
    )


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


# --- characters to tokens -----------------------------------------------------------------------


def _tokenise(text: str, turns: list[Turn], chat: Chat) -> tuple[list[int], list[Offset]]:
    ids, offsets = _pieces([text], chat)
    starts = [start for start, _ in offsets]
    if any(_merges(turn.start, starts, offsets) for turn in turns):
        cuts = sorted({0, len(text), *(turn.start for turn in turns)})
        ids, offsets = _pieces([text[a:b] for a, b in pairwise(cuts)], chat)
    back = chat.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if not _same_text(back, text):
        raise RowProblem("decode_differs", "The model's tokenizer can't write this text: it comes back changed.")
    return ids, offsets


def _merges(position: int, starts: list[int], offsets: list[Offset]) -> bool:
    """A token reaches over `position`: the prompt's end and the answer's first characters as one.

    The model never reads that token when it is asked, so such a text is tokenised in pieces.
    """
    at = bisect_left(starts, position) - 1
    return at >= 0 and offsets[at][1] > position


def _pieces(texts: list[str], chat: Chat) -> tuple[list[int], list[Offset]]:
    ids: list[int] = []
    offsets: list[Offset] = []
    base = 0
    for text in texts:
        found = chat.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids += found["input_ids"]
        offsets += [(base + a, base + b) for a, b in found["offset_mapping"]] if base else found["offset_mapping"]
        base += len(text)
    return ids, offsets


def _same_text(back: str, text: str) -> bool:
    """Equal up to Unicode's composed form and the leading space that sentence-piece vocabularies add."""
    if back == text:
        return True
    plain = [unicodedata.normalize("NFC", t).lstrip(" ") for t in (back, text)]
    return plain[0] == plain[1]


def _label(ids: list[int], offsets: list[Offset], turns: list[Turn], chat: Chat) -> list[int]:
    labels = [IGNORED] * len(ids)
    starts = [start for start, _ in offsets]
    for turn in turns:
        end = _end_of(turn, ids, starts, chat)
        if turn.supervised:
            first = bisect_left(starts, turn.start)
            labels[first : end + 1] = ids[first : end + 1]
    return labels


def _closes(token: int, chat: Chat) -> bool:
    return token == chat.end_of_turn or token in chat.control_ids


def _end_of(turn: Turn, ids: list[int], starts: list[int], chat: Chat) -> int:
    """Index of the token that closes `turn`: the end-of-turn token, or what the template closes earlier turns with."""
    first, stop = bisect_left(starts, turn.content_end), bisect_left(starts, turn.stop)
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
    return bool(chat.tokenizer.decode(ids).strip())
