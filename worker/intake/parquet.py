"""Rows of a Parquet file, a few at a time. Loaded in this process only: pyarrow takes a second and 100 MB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.domain.datasets.refusals import FormatError, Row, RowError
from app.domain.files.records import Record

BATCH_ROWS = 256


def read_parquet(path: Path) -> Iterator[Record]:
    """Each row; `number` counts them from 1. Raises `FormatError`."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        message = "This worker has not what it takes to read Parquet. Install Tunedeck's `train` extra on it."
        raise FormatError(message) from exc
    number = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH_ROWS, use_threads=False):
                for row in range(batch.num_rows):
                    number += 1
                    yield _record(batch, row, number)
    except (pa.ArrowException, OSError, ValueError, NotImplementedError) as exc:
        message = f"The Parquet file is damaged or of an unknown kind (after {number:,} rows). Write it again."
        raise FormatError(message) from exc


def _record(batch: Any, row: int, number: int) -> Record:
    """pyarrow does not check that a text is UTF-8 until it is asked for it: so cell by cell."""
    value: Row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            value[name] = _without_nulls(column[row].as_py())
        except UnicodeDecodeError:
            message = f"The column `{name[:60]}` is not UTF-8. Write its text as UTF-8."
            return Record(number, 0, b"", error=RowError("not_utf8", message))
        except (ValueError, OverflowError) as exc:
            message = f"The column `{name[:60]}` holds a value that can't be read: {exc}."
            return Record(number, 0, b"", error=RowError("bad_cell", message[:500]))
    return Record(number, 0, _excerpt(value), value)


def _without_nulls(value: object) -> object:
    """A list of structs names all its fields in each: those that a turn does not have are null."""
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return value


def _excerpt(value: Row) -> bytes:
    shown = next((each for each in value.values() if each), "")
    return str(shown)[:160].encode("utf-8", "replace")
