"""How long the checkpoints of jobs that have ended are kept. The files go first, then their rows.

A final state never changes and nothing goes on from a final job's checkpoints (another try starts afresh, and training
further takes the adapter), so any number of processes may do this at once. Live and paused jobs are never touched.
"""

from __future__ import annotations

import logging
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from app.core.context import Context
from app.core.db import now_of
from app.core.disk import forget_walks
from app.core.storage import StorageError
from app.domain.errors import ConflictError, DomainError
from app.domain.jobs import checkpoints, service
from app.domain.jobs.models import Checkpoint, Job, JobAttempt, JobEvent
from app.domain.jobs.states import FINAL, JobState
from app.domain.preferences import service as preferences
from app.domain.preferences.service import Retention

log = logging.getLogger(__name__)
#: Jobs seen to in one round.
_AT_ONCE = 20


def expired(session: Session, rules: Retention, limit: int | None = None) -> list[int]:
    """Jobs whose checkpoints have been kept long enough."""
    ended = [([JobState.SUCCEEDED], rules.succeeded_days), ([JobState.FAILED, JobState.CANCELLED], rules.failed_days)]
    now = now_of(session)
    old = [
        sa.and_(col(Job.state).in_(states), col(Job.finished_at) <= now - timedelta(days=days))
        for states, days in ended
        if days is not None
    ]
    if not old:
        return []
    has = sa.exists().where(col(Checkpoint.job_id) == col(Job.id))
    query = sa.select(col(Job.id)).where(has, sa.or_(*old), col(Job.deleted_at).is_(None), ~_needed())
    return list(session.execute(query.order_by(col(Job.id)).limit(limit)).scalars())


def _needed() -> sa.ColumnElement[bool]:
    """Whether a live job was made from this one."""
    child = aliased(Job)
    return sa.exists().where(col(child.parent_id) == col(Job.id), col(child.state).not_in(list(FINAL)))


def prune(ctx: Context) -> None:
    """Remove what the rules no longer keep. What can't be removed now is tried again in the next round."""
    with ctx.db.session() as session:
        found = expired(session, preferences.read(session, Retention), _AT_ONCE)
    for job_id in found:
        try:
            size = remove_checkpoints(ctx, job_id, "Its checkpoints were kept as long as Storage says.")
        except (OSError, StorageError, DomainError) as exc:  # deleted meanwhile, say
            log.warning("Checkpoints of job %s stay for now: %s", job_id, exc)
        else:
            log.info("Checkpoints of job %s are gone: %.1f MB were removed here.", job_id, size / 1e6)


def remove_checkpoints(ctx: Context, job_id: int, said: str) -> int:
    """Remove every checkpoint of a job that has ended; their bytes.

    Raises `NotFoundError`, `ConflictError`, `OSError` and `StorageError`; what was not removed still counts then.
    """
    with ctx.db.session() as session:
        job = service.get_job(session, job_id)
        if job.job_state not in FINAL:
            raise ConflictError("This job has not ended: it may go on from its checkpoints.")
        if session.execute(sa.select(col(Job.id)).where(col(Job.id) == job_id, _needed())).first():
            raise ConflictError("A job that was made from this one has not ended yet. Wait for it, or cancel it.")
        attempts = set(session.exec(select(JobAttempt.attempt).where(JobAttempt.job_id == job_id)))
        kept = checkpoints.of_job(session, job_id)
    for attempt in sorted(attempts | {checkpoint.attempt for checkpoint in kept}):
        ctx.storage.delete(f"runs/{job_id}/a{attempt}/checkpoints")
        ctx.storage.discard(f"runs/{job_id}/a{attempt}/.uploading")
    with ctx.db.session(write=True) as session:
        gone = sa.delete(Checkpoint).where(col(Checkpoint.job_id) == job_id).returning(col(Checkpoint.size))
        sizes = list(session.execute(gone.execution_options(synchronize_session=False)).scalars())
        if sizes:  # else another process was faster
            _say(session, job_id, said)
            ctx.bells.changed(session, job_id)
    forget_walks()
    return sum(sizes)


def removable(session: Session) -> list[int]:
    """Every job that has ended and still has checkpoints, whatever the rules say."""
    return expired(session, Retention(succeeded_days=0, failed_days=0))


def _say(session: Session, job_id: int, message: str) -> None:
    """A line in the log of a job that no worker holds."""
    statement = sa.update(Job).where(col(Job.id) == job_id).values(event_seq=Job.event_seq + 1)
    row = session.execute(statement.returning(col(Job.event_seq), col(Job.attempt))).one()
    payload = {"level": "info", "message": message}
    session.add(JobEvent(job_id=job_id, seq=row[0], attempt=row[1], kind="log", payload=payload))
    session.flush()
