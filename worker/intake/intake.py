"""One pass over an uploaded file, after a look at its first rows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.domain.datasets.formats import Format, convert, detect, merged, used
from app.domain.datasets.refusals import FormatError, Row, RowError, UnknownRowsError
from app.domain.datasets.replacing import replaced
from app.domain.files.arrays import read_values
from app.domain.files.lines import BLOCK, read_blocks, split_block
from app.domain.files.parsing import value_of
from app.domain.files.reading import look_at, read_records
from app.domain.files.records import Record
from app.domain.files.sniffing import FileKind, Shape
from app.domain.files.unpacking import Stream, unpacked
from worker.child import Child, JobError
from worker.intake.fast import FastLane
from worker.intake.keeper import Keeper
from worker.intake.parquet import read_parquet
from worker.intake.samples import samples_of
from worker.trainer.specs import IntakeSpec

#: Rows that the format is found by, and records that are looked through for them.
LOOK_ROWS, LOOK_RECORDS, LOOK_BYTES = 100, 2_000, 64_000_000
MOST_COLUMNS = 200
_TELL_SECONDS = 0.25
#: Rows as one text, a line each (empty: they can't be taken so), and one by one.
Batch = tuple[bytes, Iterable[Record]]


class Intake:
    """Reads the file twice: its first rows for the format, then all of them."""

    def __init__(self, child: Child, spec: IntakeSpec, keeper: Keeper) -> None:
        self._child, self._spec, self._keeper = child, spec, keeper
        self.shape = ""
        self.kind: Format | None = spec.format or None
        self.mapping = dict(spec.mapping)
        self._columns: list[str] = []
        self._samples: list[dict[str, Any]] = []
        self._refusal = ""
        self._told = time.monotonic()
        self._size = spec.source.stat().st_size

    def read(self) -> None:
        """Every row. Raises `FormatError` or `JobError` when the file as a whole is of no use."""
        with self._opened() as (source, kind):
            self.shape = kind.shape
            try:
                self._look(source, kind)
            except UnknownRowsError as exc:
                self._refusal = str(exc)
                return
        with self._opened() as (source, kind):
            if kind.shape in _BATCHED and (fast := self._fast_lane()):
                self._by_batches(source, fast, _BATCHED[kind.shape](source, fast))
            else:
                for record in self._records(source, kind):
                    self._take(record)
                    self._tell(source)

    def _fast_lane(self) -> FastLane | None:
        """Where the rows may be plain conversations."""
        column = {"messages": "messages", "sharegpt": "conversations"}.get(self.kind or "", "")
        if self._spec.replace or set(self.mapping.values()) != {column}:
            return None
        others = [name for name in self._columns if name != column]
        return FastLane(self._keeper, told=self.kind == "sharegpt", others=others)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Stream, FileKind]]:
        with unpacked(self._spec.source, self._spec.max_unpacked) as source:
            yield source, look_at(source, self._spec.filename)

    def _records(self, source: Stream, kind: FileKind) -> Iterator[Record]:
        return read_parquet(self._plain_file(source)) if kind.shape == "parquet" else read_records(source, kind)

    def _plain_file(self, source: Stream) -> Path:
        """A Parquet file is read from its end, so a packed one has to be unpacked first."""
        if not source.is_packed:
            return self._spec.source
        plain = self._child.job_dir / "source.parquet"
        if not plain.exists():
            with plain.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
        return plain

    def _look(self, source: Stream, kind: FileKind) -> None:
        rows: list[object] = []
        for number, record in enumerate(self._records(source, kind)):
            if len(rows) == LOOK_ROWS or number == LOOK_RECORDS or source.position > LOOK_BYTES:
                break
            rows += self._readable(record)
        self._columns = list(merged(rows))[:MOST_COLUMNS]
        self._samples = samples_of(rows)
        if self.kind is None and rows:
            self.kind, self.mapping = detect(merged(rows))

    @staticmethod
    def _readable(record: Record) -> list[object]:
        try:
            value = value_of(record)
        except RowError:
            return []
        return [value] if isinstance(value, dict) else []

    def _by_batches(self, source: Stream, fast: FastLane, batches: Iterable[Batch]) -> None:
        """Rows that are plain are kept many at a time; where one of them is not, row by row."""
        for text, records in batches:
            if not fast.take(text):
                for record in records:
                    if record.error or not fast.take(record.raw):
                        self._take(record)
            self._tell(source)

    def _take(self, record: Record) -> None:
        try:
            row = self._row(value_of(record))
        except RowError as exc:
            self._keeper.refuse(exc, record)
        else:
            self._keeper.keep(row)

    def _row(self, value: object) -> Row:
        if self.kind is None:
            self._learn(value)
        assert self.kind is not None
        row = convert(value, self.kind, self.mapping)
        return replaced(row, self._spec.replace) if self._spec.replace else row

    def _learn(self, value: object) -> None:
        """The first row that can be read at all came late."""
        if not isinstance(value, dict):
            raise RowError("not_an_object", 'The row is JSON but not an object. Each must look like {"messages": […]}.')
        try:
            self.kind, self.mapping = detect(value)
        except FormatError as exc:
            raise RowError("unknown_format", str(exc)) from exc
        self._columns = list(value)[:MOST_COLUMNS]

    def _tell(self, source: Stream) -> None:
        if time.monotonic() - self._told > _TELL_SECONDS:
            self._told = time.monotonic()
            self._child.stop_point()
            done = min(self._size, source.packed_position)
            self._child.events.phase("reading", done, self._size, "bytes", f"{self._keeper.rows} rows")

    def result(self) -> dict[str, Any]:
        """What was understood. Raises `JobError` when there is nothing that another mapping could mend."""
        keeper = self._keeper
        if keeper.rows == 0:
            self._refusal = self._refusal or "Not one row could be read; the problems below say why."
            if not self._columns:
                message = self._refusal if keeper.problems else "The file holds no rows, only empty lines."
                raise JobError("bad_data", message, "Upload a file with at least one conversation.")
        reads = used(self.kind or "", self.mapping)
        ignored = [name for name in self._columns if name not in reads]
        stats = {
            "ignored_columns": ignored,
            "shape": self.shape,
            "replace": [list(pair) for pair in self._spec.replace],
        }
        return {
            "format": self.kind or "",
            "mapping": self.mapping,
            "rows": keeper.rows,
            "problems": keeper.problems,
            "stats": keeper.stats() | stats,
            "columns": self._columns,
            "samples": self._samples,
            "error": "" if keeper.rows else self._refusal,
        }


def _blocks(source: Stream, _fast: FastLane) -> Iterator[Batch]:
    for block in read_blocks(source):
        yield (b"", [block]) if block.error else (block.raw, split_block(block))


def _values(source: Stream, fast: FastLane) -> Iterator[Batch]:
    """Values of an array, set one below the other; those over several lines go one by one.

    Runs of plain ones are taken before they are told apart.
    """
    waiting: list[Record] = []
    size = 0
    for record in read_values(source, fast.take_values):
        waiting.append(record)
        size += len(record.raw)
        if size > BLOCK:
            yield _batch(waiting)
            waiting, size = [], 0
    yield _batch(waiting)


def _batch(records: list[Record]) -> Batch:
    alone = any(record.error or b"\n" in record.raw for record in records)
    return b"" if alone else b"\n".join([record.raw for record in records]), records


_BATCHED: dict[Shape, Callable[[Stream, FastLane], Iterator[Batch]]] = {
    "lines": _blocks,
    "array": _values,
    "values": _values,
}
