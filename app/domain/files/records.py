"""A row as it stands in a file. Pure."""

from __future__ import annotations

from typing import NamedTuple

from app.domain.datasets.refusals import Row, RowError

#: Bytes of one row; a longer one is passed over.
MAX_ROW = 32 * 1024 * 1024
EXCERPT_BYTES = 160


class Record(NamedTuple):
    """`number`: of its line, or of the row where rows are not lines; `offset`: of its first byte, unpacked."""

    number: int
    offset: int
    #: Its text; only the start of it where `error` says that it is too long.
    raw: bytes
    #: Its cells, where the file is a table.
    value: Row | None = None
    error: RowError | None = None


def too_long() -> RowError:
    """The row is larger than memory should have to hold."""
    return RowError("too_long", f"The row is longer than {MAX_ROW // 1024**2} MB. Split the conversation.")
