"""What a worker may write about its job, and only while the job is still its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col

from app.core.db import now_of, utcnow
from app.domain.jobs.models import Job, JobAttempt, JobEvent
from app.domain.jobs.service import LONGEST_WAIT, move
from app.domain.jobs.states import LEASED, JobState

#: Wait before the first try after a loss, in seconds; doubled with each further one.
RETRY_SECONDS = 5


class FencedError(Exception):
    """The job belongs to another attempt now (or to none): write nothing, end the child."""


@dataclass(frozen=True)
class Ownership:
    """A claim: this attempt of this job."""

    job_id: int
    attempt: int

    @property
    def mine(self) -> tuple[sa.ColumnElement[bool], ...]:
        """The condition every write of this attempt carries."""
        return (col(Job.id) == self.job_id, col(Job.attempt) == self.attempt, col(Job.state).in_(list(LEASED)))


def beat(session: Session, own: Ownership) -> JobState:
    """Renew the lease and learn what is asked of the job. Raises `FencedError`."""
    statement = sa.update(Job).where(*own.mine).values(beat=Job.beat + 1).returning(col(Job.state))
    state = session.execute(statement.execution_options(synchronize_session=False)).scalar_one_or_none()
    if state is None:
        raise FencedError(own)
    return JobState(state)


def open_gate(session: Session, own: Ownership, *, count: int, old_tail: int, new_tail: int) -> int:
    """The first statement of each write: take `count` event numbers and move the tail. Returns the first number.

    Raises `FencedError` when the job is no longer this attempt's, or the lines were stored before.
    """
    statement = (
        sa.update(Job)
        .where(*own.mine, col(Job.tail_offset) == old_tail)
        .values(event_seq=Job.event_seq + count, tail_offset=new_tail)
        .returning(col(Job.event_seq))
        .execution_options(synchronize_session=False)
    )
    last: int | None = session.execute(statement).scalar_one_or_none()
    if last is None:
        raise FencedError(own)
    return last - count + 1


def stored_tail(session: Session, own: Ownership) -> int:
    """The byte up to which this attempt's lines are stored. Raises `FencedError`."""
    tail: int | None = session.execute(sa.select(col(Job.tail_offset)).where(*own.mine)).scalar_one_or_none()
    if tail is None:
        raise FencedError(own)
    return tail


def _end_attempt(session: Session, own: Ownership, outcome: str) -> None:
    mine = (col(JobAttempt.job_id) == own.job_id, col(JobAttempt.attempt) == own.attempt)
    session.execute(sa.update(JobAttempt).where(*mine).values(ended_at=utcnow(), outcome=outcome))


def _first_move(session: Session, own: Ownership, moves: list[tuple[JobState, JobState]], **values: Any) -> JobState:
    fence = (col(Job.attempt) == own.attempt,)
    for old, new in moves:
        if move(session, own.job_id, [old], new, where=fence, **values):
            return new
    raise FencedError(own)


def finish(session: Session, own: Ownership, outcome: str) -> JobState:
    """The child said `done`: succeeded, paused, cancelled or drained. Returns the new state. Raises `FencedError`."""
    cancelled = (JobState.CANCELLING, JobState.CANCELLED)
    moves = {
        "succeeded": [(JobState.RUNNING, JobState.SUCCEEDED), (JobState.PAUSING, JobState.SUCCEEDED), cancelled],
        "paused": [(JobState.PAUSING, JobState.PAUSED), cancelled, (JobState.RUNNING, JobState.QUEUED)],
        "drained": [(JobState.RUNNING, JobState.QUEUED), (JobState.PAUSING, JobState.PAUSED), cancelled],
        "cancelled": [cancelled, (JobState.PAUSING, JobState.PAUSED), (JobState.RUNNING, JobState.QUEUED)],
    }[outcome]
    _end_attempt(session, own, outcome)
    return _first_move(session, own, moves, phase="", phase_done=None, phase_total=None)


def fail(session: Session, own: Ownership, error: dict[str, Any]) -> JobState:
    """The child said `error`. A job that was to be cancelled is cancelled all the same. Raises `FencedError`."""
    _end_attempt(session, own, "failed")
    ends = [(JobState.RUNNING, JobState.FAILED), (JobState.PAUSING, JobState.FAILED)]
    for old, new in ends:
        if move(session, own.job_id, [old], new, where=(col(Job.attempt) == own.attempt,), error=error):
            return new
    return _first_move(session, own, [(JobState.CANCELLING, JobState.CANCELLED)])


def lose(session: Session, own: Ownership, *, max_losses: int, error: dict[str, Any], fence: bool = False) -> JobState:
    """The child died without a word, or the lease ran out (`fence`: raise the attempt, so that its worker is shut out).

    The job waits and is tried again, or fails after more than `max_losses` losses. Raises `FencedError`.
    """
    job = session.get(Job, own.job_id, populate_existing=True)
    if job is None:
        raise FencedError(own)
    losses = job.losses + 1
    values: dict[str, Any] = {"losses": losses}
    if fence:
        values["attempt"] = Job.attempt + 1
    _end_attempt(session, own, "lost")
    mine = (col(Job.attempt) == own.attempt,)
    note = {"reason": error.get("message", ""), "losses": losses}
    if losses > max_losses:
        if move(session, own.job_id, [JobState.RUNNING], JobState.FAILED, where=mine, note=note, error=error, **values):
            return JobState.FAILED
    else:
        values["not_before"] = now_of(session) + _wait(losses)
        if move(session, own.job_id, [JobState.RUNNING], JobState.QUEUED, where=mine, note=note, **values):
            _log_loss(session, own.job_id, error)
            return JobState.QUEUED
    values.pop("not_before", None)
    others = [(JobState.PAUSING, JobState.PAUSED), (JobState.CANCELLING, JobState.CANCELLED)]
    return _first_move(session, own, others, note=note, **values)


def _wait(losses: int) -> timedelta:
    doublings = min(losses - 1, 20)  # the number of losses allowed is a setting without an upper bound
    return min(timedelta(seconds=RETRY_SECONDS * 2**doublings), LONGEST_WAIT)


def _log_loss(session: Session, job_id: int, error: dict[str, Any]) -> None:
    statement = sa.update(Job).where(col(Job.id) == job_id).values(event_seq=Job.event_seq + 1)
    row = session.execute(statement.returning(col(Job.event_seq), col(Job.attempt))).one()
    session.add(JobEvent(job_id=job_id, seq=row[0], attempt=row[1], kind="lost", payload=error))
    session.flush()
