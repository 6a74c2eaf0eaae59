"""JSON lines: blocks of whole lines for those in a hurry, and line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.domain.files.records import EXCERPT_BYTES, MAX_ROW, Record, too_long
from app.domain.files.sniffing import BOM
from app.domain.files.unpacking import Stream

#: Small, so that a bad line has few others read one by one.
BLOCK = 32 * 1024
_LINE = re.compile(rb"[^\n]+")


def skip_bom(stream: Stream) -> None:
    """Some editors mark UTF-8 by three bytes at its start."""
    if stream.peek(len(BOM)) == BOM:
        stream.read(len(BOM))


def read_blocks(stream: Stream) -> Iterator[Record]:
    """Whole lines, many at a time: `number` and `offset` are the first one's. A line too long comes alone."""
    skip_bom(stream)
    number, offset, parts, size = 1, stream.position, [b""], 0
    while chunk := stream.read(BLOCK):
        end = chunk.rfind(b"\n") + 1
        if not end and size + len(chunk) <= MAX_ROW:
            parts.append(chunk)
            size += len(chunk)
            continue
        if not end:
            yield Record(number, offset, b"".join(parts)[:EXCERPT_BYTES], error=too_long())
            chunk = _skip_line(stream)
            end, parts = 0, []
            number, offset = number + 1, stream.position - len(chunk)
        if end:
            block = b"".join((*parts, memoryview(chunk)[:end]))
            yield Record(number, offset, block)
            number, offset = number + block.count(b"\n"), offset + len(block)
        parts, size = [chunk[end:]], len(chunk) - end
    if rest := b"".join(parts):
        yield Record(number, offset, rest)


def _skip_line(stream: Stream) -> bytes:
    """What follows the end of the line."""
    while chunk := stream.read(BLOCK):
        end = chunk.find(b"\n") + 1
        if end:
            return chunk[end:]
    return b""


def split_block(block: Record) -> Iterator[Record]:
    """Its lines, without the empty ones, of which a file may hold any number at little cost."""
    if block.raw.isspace():
        return
    number, seen = block.number, 0
    for found in _LINE.finditer(block.raw):
        start, line = found.start(), found[0]
        number, seen = number + block.raw.count(b"\n", seen, start), start
        if not line.isspace():
            long = len(line) > MAX_ROW
            excerpt = line[:EXCERPT_BYTES] if long else line
            yield Record(number, block.offset + start, excerpt, error=too_long() if long else None)


def read_lines(stream: Stream) -> Iterator[Record]:
    """Line by line."""
    for block in read_blocks(stream):
        yield from [block] if block.error else split_block(block)
