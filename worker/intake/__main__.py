"""`python -m worker.intake JOB_DIR`: every row of an uploaded or fetched file becomes a canonical row or a problem.

Reads a little at a time, so memory stays flat whatever the size. Good rows go to `rows.jsonl` in the job folder.
"""

from __future__ import annotations

import sys

from app.domain.datasets.refusals import FormatError
from worker.child import Child, JobError, run
from worker.intake.fetching import fetch
from worker.intake.intake import Intake
from worker.intake.keeper import Keeper
from worker.intake.version import write_version
from worker.trainer.protocol import Result
from worker.trainer.specs import IntakeSpec, read_spec

ROWS_FILE = "rows.jsonl"
_BUFFER = 1 << 20


def intake(child: Child) -> None:
    """The whole job."""
    spec = fetch(child, read_spec(child.job_dir, IntakeSpec))
    child.seclude()
    if spec is None:
        return
    child.events.phase("reading", 0, spec.source.stat().st_size, "bytes")
    if spec.changes is not None:
        child.events.emit(Result(payload=write_version(child, spec, spec.changes)))
        return
    part = child.job_dir / (ROWS_FILE + ".part")
    with part.open("wb", buffering=_BUFFER) as out:
        work = Intake(child, spec, Keeper(child, spec, out))
        work.read()
    result = work.result()
    part.replace(child.job_dir / ROWS_FILE)
    child.events.emit(Result(payload=result))


def _explain(exc: BaseException) -> JobError | None:
    if isinstance(exc, FormatError):
        return JobError("bad_data", str(exc))
    if isinstance(exc, OSError):
        text = f"The file can't be read or written: {exc.strerror or exc}."
        return JobError("disk_full" if exc.errno == 28 else "bug", text, "Check the disk of the worker.")
    return None


def main() -> None:
    """Entry point."""
    sys.exit(run(intake, _explain))


if __name__ == "__main__":
    main()
