"""One generated file through the real intake: rows in are rows kept and problems, or the file is refused in words."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from app.domain.datasets.refusals import FormatError
from app.domain.files.reading import look_at
from app.domain.files.unpacking import unpacked
from tests.fuzz.files import Made
from worker.child import Child, JobError
from worker.intake.__main__ import ROWS_FILE, intake
from worker.trainer.protocol import Control, Emitter
from worker.trainer.specs import IntakeSpec, write_spec

MOST_SECONDS = 10.0
#: A folder in memory, if there is one: on a busy disk making a folder takes longer than all the rest.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


def check(made: Made) -> str:
    """How it ended, in a word. Raises `AssertionError`, or what the intake raised."""
    with tempfile.TemporaryDirectory(prefix="tunedeck-fuzz-", dir=MEMORY) as name:
        job = Path(name)
        source = job / "source"
        source.write_bytes(made.data)
        write_spec(job, IntakeSpec(source=source, filename=made.name, max_problems=1_000_000))
        begun = time.monotonic()
        refusal = _take_in(job)
        assert time.monotonic() - begun < MOST_SECONDS
        if refusal:
            assert refusal.endswith((".", ")")), refusal
            return "refused"
        return _counted(job, source, made.name)


def _take_in(job: Path) -> str:
    events = Emitter(job, None)
    try:
        with events._file:  # a child of its own would end with it
            intake(Child(job, events, Control(job), {}))
    except (JobError, FormatError) as refused:
        return str(refused)
    return ""


def _counted(job: Path, source: Path, name: str) -> str:
    events: list[dict[str, Any]] = [
        json.loads(line) for line in (job / "events.jsonl").read_bytes().split(b"\n") if line
    ]
    result = next(event["payload"] for event in events if event["kind"] == "result")
    kept = [line for line in (job / ROWS_FILE).read_bytes().split(b"\n") if line]
    assert result["rows"] == len(kept)
    assert all(json.loads(row).keys() & {"messages", "text", "prompt"} for row in kept)
    problems = Counter(event["code"] for event in events if event["kind"] == "problem")
    assert problems.total() == result["problems"]
    assert all(event["message"].endswith((".", "}", "…")) for event in events if event["kind"] == "problem")
    if result["error"] and not result["problems"]:
        return "unknown columns"
    expected = _rows_in(source, name)
    if expected is not None:
        assert result["rows"] + result["problems"] == expected, (result["rows"], problems, expected)
    return "kept" if not problems else "kept with problems" if kept else "problems only"


def _rows_in(source: Path, name: str) -> int | None:
    """As many rows as another reader finds; None where it finds that the file is none."""
    with unpacked(source) as stream:
        kind = look_at(stream, name)
        data = stream.read(10**8)
        while more := stream.read(10**8):
            data += more
    data = data.removeprefix(b"\xef\xbb\xbf")
    match kind.shape:
        case "lines":
            return sum(not line.isspace() and line != b"" for line in data.split(b"\n"))
        case "array":
            try:
                return len(json.loads(data, parse_constant=lambda _: 0))
            except (ValueError, RecursionError):
                return None
        case "table":
            return _rows_of_table(data, kind.separator)
        case _:
            return None


def _rows_of_table(data: bytes, separator: str) -> int | None:
    try:
        lines = io.StringIO(data.decode(), newline="\n")  # a bare CR ends no line here
        rows = list(csv.reader(lines, delimiter=separator, strict=True))
    except (UnicodeDecodeError, csv.Error):
        return None
    return sum(any(row) for row in rows) - 1
