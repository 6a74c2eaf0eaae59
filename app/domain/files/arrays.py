"""JSON values one after another, in one array or bare, found without reading the file as a whole.

Only brackets and quotes are looked at; whether a value is sound is found out by whoever parses it. Where brackets do
not match or a string holds a line break, the value is broken: it ends where the next one seems to begin.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from app.domain.datasets.refusals import RowError
from app.domain.files.lines import BLOCK, skip_bom
from app.domain.files.records import EXCERPT_BYTES, MAX_ROW, Record, too_long
from app.domain.files.unpacking import Stream

_STRING = rb'"(?:[^"\\\n]++|\\[^\n])*+"'
_PLAIN = rb'(?:[^"\[\]{}]++|' + _STRING + rb")*+"
_WHOLE_STRING = re.compile(_STRING, re.DOTALL)
_RUN = re.compile(_PLAIN, re.DOTALL)
_TO_BRACKET = re.compile(_PLAIN + rb"[\[\]{}]", re.DOTALL)
_IN_STRING = re.compile(rb'(?:[^"\\\n]++|\\[^\n])*+', re.DOTALL)
_SCALAR = re.compile(rb"[^\s,\[\]{}]++")
_RESUME = re.compile(rb"[\]}]\s*,\s*(?=\{)")
#: Between two rows of turns: where the last one in a buffer may end.
_BETWEEN = re.compile(rb"[\]}]\s*\}(?=\s*,\s*\{)")
_GAP = re.compile(rb"[\s,]*+")
_PAIRS = {ord("}"): ord("{"), ord("]"): ord("[")}
_MORE = -1
_MOST_AT_ONCE = 2 * BLOCK
#: Keeps all the values of a text, and says how many; or none.
Take = Callable[[bytes], int]
_CUT_OFF = "The array is not closed: the file seems to be cut off here. Upload it again."


class _Values:
    """What is read and not yet given out, and where in the file it stands."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = b""
        self._stack = bytearray()
        self._broken = self._in_string = False
        self._ended = False
        #: Up to there values are given out one by one.
        self._alone_until = 0
        #: The file ended within the last value.
        self.cut_off = False
        #: Place of the next byte in the buffer, and of the buffer's first byte in the file.
        self.at, self._base = 0, stream.position

    @property
    def offset(self) -> int:
        """Place of the next byte in the file."""
        return self._base + self.at

    def _more(self, keep: int) -> None:
        """Drop what stands before `keep`, and read on: as much again as is there, so that this costs little."""
        self._buffer, self._base, self.at = self._buffer[keep:], self._base + keep, self.at - keep
        self._alone_until -= keep
        chunk = self._stream.read(max(BLOCK, len(self._buffer)))
        self._ended = not chunk
        self._buffer += chunk

    def gap(self) -> int:
        """Pass over white space and commas: the next byte, or `_MORE` at the end."""
        while True:
            self.at = _end(_GAP, self._buffer, self.at)
            if self.at < len(self._buffer):
                return self._buffer[self.at]
            if self._ended:
                return _MORE
            self._more(self.at)

    def take_many(self, take: Take) -> int:
        """Offer all up to the last place in the buffer at which an object ends before another begins: how many went."""
        if self.at < self._alone_until:
            return 0  # it was not taken: one by one, up to where it ended
        if len(self._buffer) - self.at < BLOCK and not self._ended:
            self._more(self.at)
        end = _last_end(self._buffer, self.at)
        taken = take(self._buffer[self.at : end]) if end > self.at else 0
        # Where there is no such place it is not looked for again with each value.
        self._alone_until = 0 if taken else max(end, min(len(self._buffer), self.at + _MOST_AT_ONCE) - BLOCK // 2)
        self.at = end if taken else self.at
        return taken

    def value(self) -> tuple[bytes, bool]:
        """The value that begins here (only its start when it is longer than is taken), and whether it is too long."""
        self._stack.clear()
        self._broken = self._in_string = False
        start, head = self.at, b""
        while (end := self._step()) == _MORE and not self._ended:
            if len(self._buffer) - start > MAX_ROW:
                head = head or self._buffer[start : start + EXCERPT_BYTES]
                start = self.at
            start -= (keep := start)
            self._more(keep)
        self.cut_off = end == _MORE
        self.at = len(self._buffer) if self.cut_off else end
        text = self._buffer[start : self.at]
        return (head or text[:EXCERPT_BYTES], True) if head or len(text) > MAX_ROW else (text, False)

    def _step(self) -> int:
        """Go on to the end of the value: where that is, or `_MORE` when the buffer does not hold it."""
        if self._broken:
            return self._resume(self.at)
        if not self._stack and self._buffer[self.at] not in b"{[":
            return self._scalar()
        return self._walk() if not self._in_string or self._leave_string() else self._within_string()

    def _walk(self) -> int:
        while match := _TO_BRACKET.match(self._buffer, self.at):
            self.at = match.end()
            bracket = self._buffer[self.at - 1]
            if bracket in b"{[":
                self._stack.append(bracket)
            elif self._stack.pop() != _PAIRS[bracket]:
                return self._resume(self.at - 1)
            if not self._stack:
                return self.at
        self.at = _end(_RUN, self._buffer, self.at)
        if self.at == len(self._buffer):
            return _MORE
        self._in_string = True  # a string that is not closed in what is read so far
        self.at += 1
        return self._step()

    def _leave_string(self) -> bool:
        """Go on to the end of the string, if the buffer holds it."""
        self.at = _end(_IN_STRING, self._buffer, self.at)
        self._in_string = self._buffer[self.at : self.at + 1] != b'"'
        self.at += not self._in_string
        return not self._in_string

    def _within_string(self) -> int:
        """A line break in a string: its closing quote is missing, so what follows the opening one is looked through."""
        if self._buffer[self.at : self.at + 1] != b"\n":
            return _MORE
        return self._resume(max(0, self._buffer.rfind(b'"', 0, self.at)))

    def _scalar(self) -> int:
        if self._buffer[self.at] == ord('"'):
            if string := _WHOLE_STRING.match(self._buffer, self.at):
                return string.end()
            inside = _end(_IN_STRING, self._buffer, self.at + 1)
            if self._buffer[inside:] in {b"", b"\\"} and inside - self.at <= MAX_ROW:
                return _MORE  # its end may come with the next block
        end = max(self.at + 1, _end(_SCALAR, self._buffer, self.at))
        return end if end < len(self._buffer) else _MORE

    def _resume(self, at: int) -> int:
        """Where a broken value ends: after the next bracket that is followed by a comma and another object."""
        self._broken = True
        found = _RESUME.search(self._buffer, at)
        if found:
            self._broken = False
            self._stack.clear()
            return found.start() + 1
        self.at = max(at, len(self._buffer) - BLOCK)
        return _MORE


def _last_end(buffer: bytes, start: int) -> int:
    """Behind the last object that another one follows, as far as it looks; `start` where there is none."""
    stop, end = min(len(buffer), start + _MOST_AT_ONCE), start
    for match in _BETWEEN.finditer(buffer, max(start, stop - BLOCK // 2), stop):
        end = match.end()
    return end


def _end(pattern: re.Pattern[bytes], buffer: bytes, at: int) -> int:
    match = pattern.match(buffer, at)
    return match.end() if match else at


def read_values(stream: Stream, take: Take | None = None) -> Iterator[Record]:
    """Each value; `number` counts them from 1. What follows the end of an array is told like a value.

    `take`: gets what seem to be many values of an array at once, with commas between them, and says how many it kept;
    only of none is each given out.
    """
    skip_bom(stream)
    values = _Values(stream)
    number, in_array = 0, values.gap() == ord("[")
    values.at += in_array
    while (byte := values.gap()) != _MORE:
        if in_array and byte == ord("]"):
            in_array = False
            values.at += 1
            continue
        if in_array and take and (taken := values.take_many(take)):
            number += taken
            continue
        number, offset = number + 1, values.offset
        raw, long = values.value()
        yield Record(number, offset, raw, error=too_long() if long else None)
    if in_array and not values.cut_off:
        yield Record(number + 1, values.offset, b"", error=RowError("cut_off", _CUT_OFF))
