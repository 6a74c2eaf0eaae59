"""Which checkpoints of a job are kept: the newest two, to go on from, and the one with the lowest validation loss.

Two, for the newest may turn out damaged. Their rows are the truth; the trainer prunes its folder by the same rule.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.domain.jobs.models import Checkpoint

NEWEST = 2


def of_job(session: Session, job_id: int) -> list[Checkpoint]:
    """The checkpoints of a job that count, the newest first."""
    query = select(Checkpoint).where(Checkpoint.job_id == job_id)
    return list(session.exec(query.order_by(col(Checkpoint.step).desc(), col(Checkpoint.attempt).desc())))


def best_of(found: list[Checkpoint]) -> Checkpoint | None:
    """The one with the lowest validation loss, of equal ones the first; None where none was looked at."""
    looked_at = [checkpoint for checkpoint in reversed(found) if checkpoint.eval_loss is not None]
    return min(looked_at, key=lambda checkpoint: checkpoint.eval_loss or 0.0, default=None)


def best_loss(session: Session, job_id: int) -> float | None:
    """The lowest validation loss at a checkpoint of the job."""
    best = best_of(of_job(session, job_id))
    return best.eval_loss if best else None


def keep(session: Session, job_id: int) -> list[str]:
    """Mark the best and forget the rows of those no longer kept; storage keys of their folders, to be removed after."""
    found = of_job(session, job_id)
    best = best_of(found)
    for checkpoint in found:
        checkpoint.best = checkpoint is best
    old = [checkpoint for checkpoint in found[NEWEST:] if checkpoint is not best]
    for checkpoint in old:
        session.delete(checkpoint)
    session.flush()
    kept = {checkpoint.storage_key for checkpoint in found if checkpoint not in old}
    return sorted({checkpoint.storage_key for checkpoint in old} - kept)


def sizes(session: Session) -> dict[int, tuple[int, int]]:
    """job -> how many checkpoints it has and their bytes. One query."""
    query = sa.select(col(Checkpoint.job_id), sa.func.count(), sa.func.sum(col(Checkpoint.size)))
    return {job: (count, int(size)) for job, count, size in session.execute(query.group_by(col(Checkpoint.job_id)))}
