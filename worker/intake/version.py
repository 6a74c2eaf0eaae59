"""The rows of a new version, out of those of its parent: what `app.domain.datasets.changes` does, as a job."""

from __future__ import annotations

import time
from typing import Any

from app.domain.datasets.changes import Changes, apply
from worker.child import Child
from worker.trainer.specs import IntakeSpec

ROWS_FILE = "rows.jsonl"
_TELL_SECONDS = 0.25


def write_version(child: Child, spec: IntakeSpec, changes: Changes) -> dict[str, Any]:
    """Write `rows.jsonl`, and return what an intake would. Raises `FormatError`, `Stopped`."""
    total = spec.source.stat().st_size
    told = time.monotonic()

    def pulse(done: int) -> None:
        nonlocal told
        if time.monotonic() - told > _TELL_SECONDS:
            told = time.monotonic()
            child.stop_point()
            child.events.phase("reading", done, total, "bytes")

    part = child.job_dir / (ROWS_FILE + ".part")
    with part.open("wb", buffering=1 << 20) as out:
        applied = apply(spec.source, out, changes, spec.stats, pulse)
    part.replace(child.job_dir / ROWS_FILE)
    return {
        "format": spec.format,
        "mapping": spec.mapping,
        "rows": applied.rows,
        "problems": 0,
        "stats": applied.stats,
        "error": "",
        "version": {"changes": applied.told(changes), "size": applied.size, "sha256": applied.sha256},
    }
