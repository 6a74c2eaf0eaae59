"""Tables of text (CSV, TSV): cells under the names of the first row."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator

from app.domain.datasets.refusals import FormatError, RowError
from app.domain.files.lines import BLOCK, skip_bom
from app.domain.files.records import EXCERPT_BYTES, MAX_ROW, Record, too_long
from app.domain.files.unpacking import Stream

MAX_COLUMNS = 10_000


class _Lines:
    """Lines for the csv module, which asks for as many as a row needs; what they were is kept for the excerpt."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer, self._at = b"", 0
        self.offset = stream.position
        self.number = 0
        self.excerpt = b""
        self.bad_byte = 0
        self.size = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._line()
        if not line:
            raise StopIteration
        self.number += line.endswith(b"\n")
        self.offset += len(line)
        self.excerpt = self.excerpt or line[:EXCERPT_BYTES]
        self.size += len(line)
        try:
            return line.decode()
        except UnicodeDecodeError as exc:
            self.bad_byte = self.bad_byte or self.size - len(line) + exc.start + 1
            return line.decode(errors="replace")

    def _line(self) -> bytes:
        """Up to a line break; a piece of a line that is too long."""
        end = self._buffer.find(b"\n", self._at) + 1
        while not end and len(self._buffer) - self._at <= MAX_ROW:
            self._buffer, self._at = self._buffer[self._at :], 0
            seen = len(self._buffer)
            if not (chunk := self._stream.read(max(BLOCK, seen))):
                break
            self._buffer += chunk
            end = self._buffer.find(b"\n", seen) + 1
        start, self._at = self._at, end or len(self._buffer)
        return self._buffer[start : self._at]

    def begin(self) -> tuple[int, int]:
        """A row begins: the number and offset of its first line."""
        self.excerpt, self.bad_byte, self.size = b"", 0, 0
        return self.number + 1, self.offset


def read_table(stream: Stream, separator: str) -> Iterator[Record]:
    """Each row as an object. Raises `FormatError` when the first row can't be the columns' names."""
    skip_bom(stream)
    csv.field_size_limit(MAX_ROW)
    lines = _Lines(stream)
    rows = csv.reader(lines, delimiter=separator, strict=True)
    names = _names(rows, lines)
    while True:
        number, offset = lines.begin()
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as exc:
            yield Record(number, offset, lines.excerpt, error=_broken(exc))
            continue
        if any(cells):
            yield _record(Record(number, offset, lines.excerpt), names, cells, lines)


def _names(rows: Iterator[list[str]], lines: _Lines) -> list[str]:
    try:
        names = next((cells for cells in rows if any(cells)), [])
    except csv.Error as exc:
        raise FormatError(f"The first row of the table can't be read: {exc}. Check its quotes.") from exc
    names = [name.strip() or f"column {number}" for number, name in enumerate(names, start=1)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or lines.bad_byte or not 0 < len(names) <= MAX_COLUMNS:
        said = f"the name `{twice[0][:60]}` stands there twice" if twice else "they are not UTF-8, or none, or too many"
        raise FormatError(f"The first row of a table must hold the names of its columns: {said}.")
    return names


def _broken(exc: csv.Error) -> RowError:
    if "field limit" in str(exc):
        return too_long()
    return RowError("bad_table", f"The row is no row of a table: {exc}. Check its quotes; double those within a cell.")


def _record(record: Record, names: list[str], cells: list[str], lines: _Lines) -> Record:
    if lines.bad_byte:
        message = f"Byte {lines.bad_byte} of the row is not UTF-8. Save the file as UTF-8."
        return record._replace(error=RowError("not_utf8", message))
    if len(cells) > len(names):
        message = f"The row has {len(cells)} cells and the table {len(names)} columns. Put quotes around its texts."
        return record._replace(error=RowError("too_many_cells", message))
    return record._replace(value=dict(zip(names, cells, strict=False)))
