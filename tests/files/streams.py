"""Bytes as a stream of an uploaded file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from app.domain.files.records import Record
from app.domain.files.unpacking import Stream, unpacked


def records(tmp_path: Path, data: bytes, read: Callable[[Stream], Iterator[Record]]) -> list[Record]:
    """What `read` finds in `data`."""
    file = tmp_path / "file"
    file.write_bytes(data)
    with unpacked(file) as stream:
        return list(read(stream))
