"""The lines of a job's log, read from its events."""

from __future__ import annotations

from sqlmodel import Session, col, select

from app.domain.jobs.models import JobEvent


def log_lines(
    session: Session, job_id: int, limit: int = 500, *, before: int | None = None, after: int | None = None
) -> list[JobEvent]:
    """Lines of the log, oldest first: the newest `limit` (before `before`), or the oldest `limit` after `after`."""
    kinds = ("log", "state", "checkpoint", "error", "lost")
    query = select(JobEvent).where(JobEvent.job_id == job_id, col(JobEvent.kind).in_(kinds)).limit(limit)
    if after is not None:
        return list(session.exec(query.where(col(JobEvent.seq) > after).order_by(col(JobEvent.seq))))
    query = query if before is None else query.where(col(JobEvent.seq) < before)
    return list(session.exec(query.order_by(col(JobEvent.seq).desc())))[::-1]
