"""The short way for the rows that most files hold: turns of a role and a text and nothing else, many rows in one call.

OpenAI's messages are canonical as they stand, so their bytes are kept. ShareGPT's turns, rows with columns that are not
used, and answers with their reasoning in them, are written anew. Whatever differs (calls, weights, keys given twice) is
left to the long way, row by row; what comes out is the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from app.domain.datasets.reasoning import split_reasoning
from app.domain.datasets.refusals import RowError
from app.domain.datasets.sharegpt import ROLES
from worker.intake.keeper import Keeper

_Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Said(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system", "user", "assistant", "tool"]
    content: _Text


class _Told(msgspec.Struct, forbid_unknown_fields=True, gc=False, rename={"role": "from", "content": "value"}):
    role: Literal[tuple(ROLES)]  # type: ignore[valid-type]  # the names are told there
    content: _Text


class _Turn(msgspec.Struct, omit_defaults=True, gc=False):
    """As the long way writes it: the reasoning before the answer, where there is any."""

    role: str
    reasoning: str = ""
    content: str = ""


class _Row(msgspec.Struct, gc=False):
    messages: list[_Turn]


#: What a column that is not used may hold; where it holds more, the row goes the long way.
_Scalar = str | float | bool | None | msgspec.UnsetType
_MOST_COLUMNS = 20
_NAME = re.compile(r'[^\x00-\x1f"\\]{1,100}')
_encode_lines = msgspec.json.Encoder().encode_lines
_ANSWERS = frozenset({"system", "assistant"})
#: In the text, or written with escapes.
_THINKS = (b"think>", b"think\\u003e", b"think\\u003E")
_NOT_SO = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class FastLane:
    """Takes blocks of whole lines, or single lines, that are plain conversations.

    `told`: in ShareGPT's words; `others`: columns beside the turns, which are not used.
    """

    def __init__(self, keeper: Keeper, *, told: bool = False, others: Sequence[str] = ()) -> None:
        self._keeper = keeper
        names = [name for name in others if _NAME.fullmatch(name)][:_MOST_COLUMNS]
        self._others = [f"other{number}" for number in range(len(names))]
        #: The bytes are not canonical as they stand.
        self._anew = told or bool(names)
        turns: Any = ("turns", list[_Told] if told else list[_Said])
        renamed = {"turns": "conversations" if told else "messages"} | dict(zip(self._others, names, strict=True))
        fields = [turns, *((name, _Scalar, msgspec.UNSET) for name in self._others)]
        row = msgspec.defstruct("_Given", fields, rename=renamed, forbid_unknown_fields=True, gc=False)
        self._lines, self._array = msgspec.json.Decoder(row), msgspec.json.Decoder(list[row])  # type: ignore[valid-type]

    def take(self, block: bytes) -> int:
        """Keep all rows of `block` and say how many, or none: then some row of it is something else, or bad."""
        block = block.replace(b"\r\n", b"\n") if b"\r" in block else block
        block = block if block.endswith(b"\n") else block + b"\n"
        try:
            rows: list[Any] = self._lines.decode_lines(block)
        except _NOT_SO:
            return 0
        return self._keep(block, rows, block) if block.count(b"\n") == len(rows) else 0

    def take_values(self, text: bytes) -> int:
        """Likewise of values of an array, with commas between them; over any number of lines."""
        try:
            rows: list[Any] = self._array.decode(b"[" + text + b"]")
        except _NOT_SO:
            return 0
        return self._keep(text, rows)

    def _keep(self, text: bytes, rows: list[Any], as_it_is: bytes = b"") -> int:
        turns = [row.turns for row in rows]
        if not self._is_sound(text, rows, sum([len(each) for each in turns])):
            return 0
        if self._anew or (b"think" in text and any(mark in text for mark in _THINKS)):
            return self._rewrite(turns)
        shapes = _shapes(turns)
        return self._count(turns, shapes, as_it_is or _encode_lines(rows)) if shapes else 0

    def _is_sound(self, text: bytes, rows: list[Any], turns: int) -> bool:
        """No placeholder, which is counted, and no key twice in an object.

        Then there are as many keys as a row, two a turn, and the other columns; within a text the quote before a colon
        is escaped. One byte is counted at once and two are not: with no more brackets than objects there is none in a
        text.
        """
        if text.count(b"{") != len(rows) + turns and b"{{" in text:
            return False
        wanted = len(rows) + 2 * turns
        for name in self._others:
            wanted += sum([getattr(row, name) is not msgspec.UNSET for row in rows])
        keys = text.count(b'":')
        return keys == wanted or keys - text.count(b'\\":') == wanted

    def _rewrite(self, given: list[Any]) -> int:
        try:
            rows = [_Row([_turn(each.role, each.content) for each in turns]) for turns in given]
        except RowError:
            return 0
        turns = [row.messages for row in rows]
        shapes = _shapes(turns)
        if not shapes or not self._count(turns, shapes, _encode_lines(rows)):
            return 0
        self._keeper.counts["with_reasoning"] += sum([any(turn.reasoning for turn in row) for row in turns])
        return len(rows)

    def _count(self, turns: list[Any], shapes: Counter[tuple[str, ...]], text: bytes) -> int:
        said = [turn.content for row in turns for turn in row]
        if any(map(str.isspace, said)):
            return 0
        self._keeper.write(text, len(turns))
        counts = self._keeper.counts
        counts["turns"] += len(said)
        counts["characters"] += sum(map(len, said))
        for roles, count in shapes.items():
            counts["with_system"] += count * (roles[0] == "system")
            counts["multi_turn"] += count * (roles.count("user") > 1)
        return len(turns)


def _shapes(turns: list[Any]) -> Counter[tuple[str, ...]]:
    """How often the roles follow each other so; empty where a row has no question or no answer."""
    shapes = Counter([tuple([turn.role for turn in row]) for row in turns])
    return shapes if all("assistant" in roles and not _ANSWERS.issuperset(roles) for roles in shapes) else Counter()


def _turn(role: str, content: str) -> _Turn:
    """Raises `RowError`; the long way then says which turn it is."""
    role = ROLES[role]
    if role != "assistant" or "think>" not in content:
        return _Turn(role, "", content)
    answer, reasoning = split_reasoning(content)
    if not answer:
        raise RowError("empty_content", "")
    return _Turn(role, reasoning, answer)
