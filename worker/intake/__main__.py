"""`python -m worker.intake JOB_DIR`: every line of an uploaded file becomes a canonical row or a problem.

Reads one line at a time, so memory stays flat whatever the size. Good rows go to `rows.jsonl` in the job folder.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import IO, Any

import msgspec

from app.domain.datasets.formats import FormatError, Row, RowError, convert, detect, used
from app.domain.datasets.sniffing import sniff
from worker.child import Child, JobError, run
from worker.trainer.protocol import Problem, Result
from worker.trainer.specs import IntakeSpec, read_spec

ROWS_FILE = "rows.jsonl"
MAX_LINE = 32 * 1024 * 1024
#: Deeper rows would end in a RecursionError somewhere on their way: in a template, a copy, another JSON reader.
MAX_DEPTH = 100
_EXCERPT = 160
_BOM = b"\xef\xbb\xbf"
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Intake:
    """One pass over the file."""

    def __init__(self, child: Child, spec: IntakeSpec) -> None:
        self._child = child
        self._spec = spec
        self.kind: Any = None
        self.mapping: dict[str, str] = {}
        self.ignored: list[str] = []
        self.rows = 0
        self.problems = 0
        self.counts: Counter[str] = Counter()
        self._first_refusal = ""

    def read(self, source: IO[bytes], out: IO[bytes]) -> None:
        """Read every line. Raises `JobError` when the file as a whole is of no use."""
        head = source.read(65_536)
        if not head:
            raise JobError("bad_data", "The file is empty.", "Upload a .jsonl file with at least one row.")
        refusal = sniff(head)
        if refusal:
            raise JobError("bad_data", refusal)
        source.seek(len(_BOM) if head.startswith(_BOM) else 0)
        total, told, offset, number = self._spec.source.stat().st_size, time.monotonic(), source.tell(), 0
        while line := source.readline(MAX_LINE + 1):
            number += 1
            self._line(line, number, offset, out)
            if len(line) > MAX_LINE and not line.endswith(b"\n"):
                line += self._skip(source)
            offset += len(line)
            if time.monotonic() - told > 0.25:
                told = time.monotonic()
                self._child.stop_point()
                self._child.events.phase("reading", offset, total, "bytes", f"{self.rows} rows")

    @staticmethod
    def _skip(source: IO[bytes]) -> bytes:
        rest = bytearray()
        while (piece := source.readline(MAX_LINE)) and not piece.endswith(b"\n"):
            rest = bytearray(len(rest) + len(piece))
        return bytes(len(rest) + len(piece))

    def _line(self, line: bytes, number: int, offset: int, out: IO[bytes]) -> None:
        if line.isspace():
            return
        try:
            row = self._row(line)
        except RowError as exc:
            self._problem(exc, line, number, offset)
        else:
            out.write(_encode(row) + b"\n")
            self._count(row)

    def _row(self, line: bytes) -> Row:
        if len(line) > MAX_LINE:
            raise RowError("too_long", f"The line is longer than {MAX_LINE // 1024**2} MB. Split the conversation.")
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as exc:
            message = f"Byte {exc.start + 1} of the line is not UTF-8. Save the file as UTF-8."
            raise RowError("not_utf8", message) from exc
        try:
            value = _decode(text)
        except (msgspec.DecodeError, RecursionError) as exc:
            message = f"The line is not valid JSON: {exc}. Check quotes, commas and brackets."
            raise RowError("invalid_json", message) from exc
        if text.count("[") + text.count("{") > MAX_DEPTH and _is_deep(value, MAX_DEPTH):
            raise RowError("too_deep", f"The line is nested more than {MAX_DEPTH} deep. Flatten its tool calls.")
        if self.kind is None:
            self._learn_format(value)
        return convert(value, self.kind, self.mapping)

    def _learn_format(self, value: object) -> None:
        if not isinstance(value, dict):
            message = 'The line is JSON but not an object. Each line must look like {"messages": […]}.'
            raise RowError("not_an_object", message)
        try:
            self.kind, self.mapping = detect(value)
        except FormatError as exc:
            self._first_refusal = self._first_refusal or str(exc)
            raise RowError("unknown_format", str(exc)) from exc
        self.ignored = [name for name in value if name not in used(self.kind, self.mapping)]

    def _problem(self, exc: RowError, line: bytes, number: int, offset: int) -> None:
        self.problems += 1
        if self.problems <= self._spec.max_problems:
            excerpt = line[:_EXCERPT].decode("utf-8", "replace").replace("\x00", "�").strip()
            problem = Problem(line=number, offset=offset, code=exc.code, message=exc.message, excerpt=excerpt)
            self._child.events.emit(problem)

    def _count(self, row: Row) -> None:
        self.rows += 1
        if self._spec.max_rows and self.rows > self._spec.max_rows:
            message = f"The file has more than {self._spec.max_rows} rows, which is all that is taken here."
            raise JobError("bad_data", message, "Split it, or ask for a higher limit (TUNEDECK_LIMITS__ROWS).")
        turns = row.get("messages") or row.get("prompt") or [{"role": "text", "content": row.get("text", "")}]
        self.counts["turns"] += len(turns)
        self.counts["with_reasoning"] += any("reasoning" in turn for turn in turns)
        self.counts["with_system"] += turns[0]["role"] == "system"
        self.counts["with_tools"] += "tools" in row
        self.counts["multi_turn"] += sum(turn["role"] == "user" for turn in turns) > 1
        self.counts["characters"] += sum(len(turn["content"]) for turn in turns)

    def result(self) -> dict[str, Any]:
        """What was understood. Raises `JobError` when not a single row is of use."""
        if self.rows == 0:
            first = self._first_refusal or "Not one line could be read; the problems below say why."
            message = first if self.problems else "The file holds no rows, only empty lines."
            raise JobError("bad_data", message, "Upload a .jsonl file with one conversation a line.")
        return {
            "format": self.kind,
            "mapping": self.mapping,
            "rows": self.rows,
            "problems": self.problems,
            "stats": dict(self.counts) | {"ignored_columns": self.ignored},
        }


def intake(child: Child) -> None:
    """The whole job."""
    child.seclude()
    spec = read_spec(child.job_dir, IntakeSpec)
    child.events.phase("reading", 0, spec.source.stat().st_size, "bytes")
    work = Intake(child, spec)
    part = child.job_dir / (ROWS_FILE + ".part")
    with spec.source.open("rb") as source, part.open("wb") as out:
        work.read(source, out)
    result = work.result()
    part.replace(child.job_dir / ROWS_FILE)
    child.events.emit(Result(payload=result))


def _is_deep(value: object, left: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return left == 0 or any(_is_deep(each, left - 1) for each in inside)


def _explain(exc: BaseException) -> JobError | None:
    if isinstance(exc, OSError):
        text = f"The file can't be read or written: {exc.strerror or exc}."
        return JobError("disk_full" if exc.errno == 28 else "bug", text, "Check the disk of the worker.")
    return None


def main() -> None:
    """Entry point."""
    sys.exit(run(intake, _explain))


if __name__ == "__main__":
    main()
