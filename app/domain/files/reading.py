"""The rows of an uploaded text file, whatever its shape."""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.domain.datasets.refusals import FormatError
from app.domain.files.arrays import read_values
from app.domain.files.lines import read_lines
from app.domain.files.records import Record
from app.domain.files.sniffing import HEAD_BYTES, FileKind, kind_of
from app.domain.files.tables import read_table
from app.domain.files.unpacking import Stream


def look_at(stream: Stream, filename: str) -> FileKind:
    """What the file is, by its head, which stays unread. Raises `FormatError`."""
    head = stream.peek(HEAD_BYTES)
    if not head:
        raise FormatError("The file is empty. Upload a file with at least one row.")
    return kind_of(head, filename)


def read_records(stream: Stream, kind: FileKind) -> Iterator[Record]:
    """Each row. Raises `FormatError`; a Parquet file is read by the intake alone."""
    match kind.shape:
        case "array" | "values":
            return read_values(stream)
        case "table":
            return read_table(stream, kind.separator)
        case _:
            return read_lines(stream)


def stem(filename: str) -> str:
    """A file's name without what says its kind: for a data set's name."""
    return re.sub(r"(\.(jsonl|ndjson|json|csv|tsv|tab|parquet))?(\.(gz|zst))?$", "", filename, flags=re.IGNORECASE)
