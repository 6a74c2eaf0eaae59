"""Why a row, or a whole file, can't be used. Pure."""

from __future__ import annotations

from typing import Any

#: A row as it stands in a file, or as it is kept.
Row = dict[str, Any]


class RowError(ValueError):
    """A row that can't be used: a short code, and a sentence that says how to mend it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class FormatError(ValueError):
    """The whole file can't be read. The text says what to do."""


class UnknownRowsError(FormatError):
    """The rows can be read, and have columns that mean nothing to us: a person may say what they are."""
