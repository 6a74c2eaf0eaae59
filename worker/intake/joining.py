"""Several files of one data set as one, a little at a time: of the same kind, or refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import msgspec

from app.domain.datasets.refusals import FormatError
from app.domain.files.arrays import read_values
from app.domain.files.reading import look_at, read_records
from app.domain.files.sniffing import Shape
from app.domain.files.unpacking import unpacked

_CHUNK = 1 << 20
#: Rows of a Parquet file at a time.
_BATCH_ROWS = 1_000
_encode = msgspec.json.Encoder().encode
Stop = Callable[[], None]


def join(files: Sequence[Path], out: Path, most: int, stop: Stop) -> str:
    """Write `out`; the ending that fits it. `most`: bytes that one may unpack to. Raises `FormatError`."""
    kinds: set[Shape] = set()
    for file in files:
        with unpacked(file, most) as stream:
            kinds.add(look_at(stream, file.name).shape)
    if kinds == {"parquet"}:
        _join_parquet(files, out, stop)
        return ".parquet"
    if not kinds <= {"lines", "values"} and len(kinds) > 1:
        message = "The files of this part are of several kinds, so they are not one table. Choose another part."
        raise FormatError(message)
    with out.open("wb") as whole:
        writer = {"array": _array, "table": _table}.get(next(iter(kinds)), _lines)
        writer(files, whole, most, stop)
    return ".json" if kinds == {"array"} else ".jsonl"


def _lines(files: Sequence[Path], out: IO[bytes], most: int, stop: Stop) -> None:
    """One below the other."""
    for file in files:
        with unpacked(file, most) as stream:
            data = b""
            while chunk := stream.read(_CHUNK):
                out.write(data := chunk)
                stop()
            if data and not data.endswith(b"\n"):
                out.write(b"\n")


def _array(files: Sequence[Path], out: IO[bytes], most: int, stop: Stop) -> None:
    """One array of all; a value that is broken stays as it is, and is told by the check."""
    between = b"["
    for file in files:
        with unpacked(file, most) as stream:
            for record in read_values(stream):
                out.write(between + (record.raw or b'"%s"' % (record.error.code if record.error else "?").encode()))
                between = b",\n"
                stop()
    out.write(b"]\n" if between != b"[" else b"[]\n")


def _table(files: Sequence[Path], out: IO[bytes], most: int, stop: Stop) -> None:
    """Rows as objects, since each file names its columns itself; a row that can't be read stays one that can't."""
    for file in files:
        with unpacked(file, most) as stream:
            for record in read_records(stream, look_at(stream, file.name)):
                text = _encode(record.raw.decode("utf-8", "replace")) if record.error else _encode(record.value)
                out.write(text + b"\n")
                stop()


def _join_parquet(files: Sequence[Path], out: Path, stop: Stop) -> None:
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    try:
        schema = pa.unify_schemas([pq.read_schema(file) for file in files], promote_options="permissive")
        table = ds.dataset([str(file) for file in files], schema=schema, format="parquet")
        batches = table.to_batches(batch_size=_BATCH_ROWS, batch_readahead=0, fragment_readahead=0, use_threads=False)
        with pq.ParquetWriter(out, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
                stop()
    except (pa.ArrowException, OSError, ValueError, NotImplementedError) as exc:
        message = f"The Parquet files of this part do not fit together, or one is damaged: {exc}."
        raise FormatError(message[:500]) from exc
