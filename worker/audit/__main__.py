"""`python -m worker.audit JOB_DIR`: the rows as this base model will read them. Loads the tokenizer, no weights."""

from __future__ import annotations

import sys

from pydantic import BaseModel

from worker.child import Child, run
from worker.trainer.failures import explain
from worker.trainer.protocol import Result
from worker.trainer.specs import AuditSpec, read_spec


def _audit(child: Child) -> None:
    spec = read_spec(child.job_dir, AuditSpec)
    from worker.trainer.environment import set_environment

    set_environment(threads=1)
    child.events.phase("preparing", detail="Loading the tokenizer library.")
    child.events.emit(Result(payload=_found(spec, child).model_dump(mode="json")))


def _found(spec: AuditSpec, child: Child) -> BaseModel:
    if spec.rows_from is None:
        from worker.audit.report import audit

        return audit(spec, child)
    from worker.audit.rows import show

    return show(spec, child)


def main() -> int:
    """The exit code: 0 only after a `done` line."""
    return run(_audit, explain)


if __name__ == "__main__":
    sys.exit(main())
