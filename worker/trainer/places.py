"""A text in tokens, and which of its characters each of them is."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

from worker.trainer.chat import Chat
from worker.trainer.turns import Turn

Offset = tuple[int, int]


class Tokens(Protocol):
    """A text in tokens, and where its characters are."""

    @property
    def ids(self) -> list[int]: ...
    @property
    def offsets(self) -> list[Offset]: ...
    def first_at(self, position: int) -> int:
        """Index of the first token that begins at `position` or after it."""

    def merges(self, position: int) -> bool:
        """A token reaches over `position`."""


@dataclass
class Whole:
    """What the tokenizer says of a text; asked for single places, for a list of all offsets takes longer."""

    encoding: Any
    length: int
    ids: list[int]

    @property
    def offsets(self) -> list[Offset]:
        return list(self.encoding.offsets)

    def first_at(self, position: int) -> int:
        while position < self.length:
            token = self.encoding.char_to_token(position)
            if token is None:  # a space that belongs to no token's characters
                position += 1
            elif self.encoding.token_to_chars(token)[0] >= position:
                return int(token)
            else:
                position = max(position + 1, self.encoding.token_to_chars(token)[1])
        return len(self.ids)

    def merges(self, position: int) -> bool:
        token = self.encoding.char_to_token(position) if position < self.length else None
        return token is not None and self.encoding.token_to_chars(token)[0] < position


@dataclass
class Pieces:
    """A text that was tokenised in pieces."""

    ids: list[int]
    offsets: list[Offset]
    _starts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._starts = [start for start, _ in self.offsets]

    def first_at(self, position: int) -> int:
        return bisect_left(self._starts, position)

    def merges(self, position: int) -> bool:
        at = self.first_at(position) - 1
        return at >= 0 and self.offsets[at][1] > position


Read = tuple[Tokens, str]


def tokenise(texts: list[str], chat: Chat) -> list[Read]:
    """Each text in tokens, and what reading them back gives."""
    backend = chat.tokenizer.backend_tokenizer
    found = backend.encode_batch(texts, add_special_tokens=False)
    ids = [each.ids for each in found]
    back = backend.decode_batch(ids, skip_special_tokens=False)
    return [(Whole(a, len(b), c), d) for a, b, c, d in zip(found, texts, ids, back, strict=True)]


def in_pieces(text: str, turns: list[Turn], chat: Chat) -> Read:
    """The prompt's end and the answer's first characters as one token: the model never reads that when it is asked."""
    cuts = sorted({0, len(text), *(turn.start for turn in turns)})
    ids: list[int] = []
    offsets: list[Offset] = []
    for start, end in pairwise(cuts):
        tokens, _ = tokenise([text[start:end]], chat)[0]
        ids += tokens.ids
        offsets += [(start + a, start + b) for a, b in tokens.offsets]
    return Pieces(ids, offsets), chat.tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False)
