"""Which checkpoints count, on both databases."""

from __future__ import annotations

from typing import Any

from app.core.context import Context
from app.domain.jobs import checkpoints, service
from app.domain.jobs.models import Checkpoint
from app.domain.jobs.states import JobKind


def test_the_newest_two_and_the_best_are_kept_over_all_attempts(any_ctx: Context) -> None:
    with any_ctx.db.session(write=True) as session:
        job = service.enqueue(session, any_ctx.bells, kind=JobKind.TRAIN, subject_id=1, name="a", config={}).id or 0
        for step, attempt, loss in ((5, 1, 2.0), (10, 1, 1.0), (15, 1, None), (20, 2, 1.0), (25, 2, 1.4)):
            key = f"runs/{job}/a{attempt}/checkpoints/checkpoint-{step}"
            how: dict[str, Any] = {"size": step, "eval_loss": loss, "best": True}
            session.add(Checkpoint(job_id=job, step=step, attempt=attempt, storage_key=key, **how))
        session.flush()
        gone = checkpoints.keep(session, job)
    assert gone == [f"runs/{job}/a1/checkpoints/checkpoint-{step}" for step in (15, 5)]
    with any_ctx.db.session() as session:
        assert [(c.step, c.best) for c in checkpoints.of_job(session, job)] == [(25, False), (20, False), (10, True)]
        assert checkpoints.best_loss(session, job) == 1.0
        newest = service.newest_checkpoint(session, job)
        assert checkpoints.sizes(session) == {job: (3, 55)}
    assert newest is not None
    assert newest.step == 25
