"""The short way for the rows that most files hold: OpenAI's messages and nothing else, many lines in one call.

Such a line is canonical as it stands, so its bytes are kept. Whatever differs (other columns, reasoning, calls,
weights, keys given twice) is left to the long way, row by row.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

import msgspec

from worker.intake.keeper import Keeper


class _Turn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system", "user", "assistant", "tool"]
    content: Annotated[str, msgspec.Meta(min_length=1)]


class _Row(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: list[_Turn]


_decoder = msgspec.json.Decoder(_Row)
_ANSWERS = frozenset({"system", "assistant"})
#: In the text, or written with escapes.
_THINKS = (b"think>", b"think\\u003e", b"think\\u003E")


class FastLane:
    """Takes blocks of whole lines, or single lines, that are plain conversations."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def take(self, block: bytes) -> bool:
        """Keep all rows of `block`, or none: then some row of it is something else, or bad."""
        if b"{{" in block or (b"think" in block and any(mark in block for mark in _THINKS)):
            return False
        block = block.replace(b"\r\n", b"\n") if b"\r" in block else block
        block = block if block.endswith(b"\n") else block + b"\n"
        try:
            rows = _decoder.decode_lines(block)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        return self._sound(block, rows) and self._keep(block, rows)

    @staticmethod
    def _sound(block: bytes, rows: list[_Row]) -> bool:
        """No empty line, and no key twice in an object: then there are as many as a row and two a turn."""
        keys = len(rows) + 2 * sum([len(row.messages) for row in rows])
        return block.count(b"\n") == len(rows) and block.count(b'":') == keys

    def _keep(self, block: bytes, rows: list[_Row]) -> bool:
        said = [turn.content for row in rows for turn in row.messages]
        if any(map(str.isspace, said)):
            return False
        shapes = Counter([tuple([turn.role for turn in row.messages]) for row in rows])
        if not all("assistant" in roles and not _ANSWERS.issuperset(roles) for roles in shapes):
            return False
        self._keeper.write(block, len(rows))
        counts = self._keeper.counts
        counts["turns"] += len(said)
        counts["characters"] += sum(map(len, said))
        for roles, count in shapes.items():
            counts["with_system"] += count * (roles[0] == "system")
            counts["multi_turn"] += count * (roles.count("user") > 1)
        return True
