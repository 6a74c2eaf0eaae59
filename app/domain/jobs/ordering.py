"""The order in which waiting jobs start: by priority, then by place. A claim goes by the same two columns.

Each change is one conditional UPDATE of the job that moves: two people who reorder at once may each find another order
than they meant, but no job is lost or started twice. Callers commit.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.core.live import Bells
from app.domain.errors import ConflictError, InvalidError
from app.domain.jobs.models import Job
from app.domain.jobs.service import get_job
from app.domain.jobs.states import PRIORITIES, STRIDE, JobState
from app.domain.users.scoping import everybody

_OVER = "This job does not wait any more."


def waiting(session: Session, queue: str, limit: int | None = None) -> list[Job]:
    """Jobs that wait in `queue`, everybody's, the one that starts next first."""
    query = select(Job).where(*_waits(queue)).order_by(*_order()).limit(limit)
    return list(session.exec(everybody(query)))


def count_waiting(session: Session, queue: str) -> int:
    """How many wait in `queue`, everybody's."""
    found: int = session.execute(everybody(sa.select(sa.func.count(col(Job.id))).where(*_waits(queue)))).scalar_one()
    return found


def _waits(queue: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (col(Job.queue) == queue, col(Job.state) == JobState.QUEUED, col(Job.deleted_at).is_(None))


def _order() -> tuple[Any, ...]:
    return (col(Job.priority).desc(), col(Job.position), col(Job.id))


def queue_position(session: Session, job: Job) -> int:
    """1 for the job that starts next among those waiting in its queue."""
    here = sa.tuple_(-col(Job.priority), col(Job.position), col(Job.id))
    ahead = here < sa.tuple_(
        sa.literal(-job.priority), sa.literal(job.position, sa.BigInteger), sa.literal(job.id or 0)
    )
    count = everybody(sa.select(sa.func.count(col(Job.id))).where(*_waits(job.queue), ahead))
    before: int = session.execute(count).scalar_one()
    return before + 1


def priority_word(priority: int) -> str:
    """The choice that a stored number stands for."""
    return next((word for word, least in PRIORITIES.items() if priority >= least), "whenever")


def priority_number(word: str) -> int:
    """What is stored for a choice. Raises `InvalidError`."""
    if word not in PRIORITIES:
        raise InvalidError(f"Choose one of {', '.join(PRIORITIES)}.", field="priority")
    return PRIORITIES[word]


def set_priority(session: Session, bells: Bells, job_id: int, word: str) -> None:
    """Let a waiting or paused job go before, with, or after the others. Raises `ConflictError`, `InvalidError`."""
    number, job = priority_number(word), get_job(session, job_id)
    waits = col(Job.state).in_([JobState.QUEUED, JobState.PAUSED])
    changed = sa.update(Job).where(col(Job.id) == job_id, waits, col(Job.deleted_at).is_(None)).values(priority=number)
    if not _hit(session, changed):
        raise ConflictError(_OVER)
    session.refresh(job)
    bells.changed(session, job_id)


def start_next(session: Session, bells: Bells, job_id: int) -> None:
    """Put a waiting job before all others of its queue. Raises `ConflictError`."""
    first = waiting(session, get_job(session, job_id).queue, limit=1)
    put_before(session, bells, job_id, first[0].id if first and first[0].id != job_id else None, first=True)


def shift(session: Session, bells: Bells, job_id: int, by: int) -> None:
    """One place earlier (-1) or later (1). At the end of the line it stays. Raises `ConflictError`."""
    line = [job.id for job in waiting(session, get_job(session, job_id).queue)]
    if job_id not in line:
        raise ConflictError(_OVER)
    place = line.index(job_id) + by
    if 0 <= place < len(line):
        after = place + (1 if by > 0 else 0)
        put_before(session, bells, job_id, line[after] if after < len(line) else None)


def put_before(session: Session, bells: Bells, job_id: int, other_id: int | None, *, first: bool = False) -> None:
    """Let a waiting job start right before another, or last of all (None). Raises `ConflictError`.

    Between two priorities it keeps its own, else it takes its neighbour's. `first`: None means the head of the line.
    """
    job = get_job(session, job_id)
    line = [each for each in waiting(session, job.queue) if each.id != job_id]
    place = next((number for number, each in enumerate(line) if each.id == other_id), None)
    if place is None:
        if other_id is not None:
            raise ConflictError("The job it was to start before does not wait any more. Look at the list again.")
        place = 0 if first else len(line)
    above, below = line[place - 1] if place else None, line[place] if place < len(line) else None
    priority = max(job.priority, below.priority if below else job.priority)
    priority = min(priority, above.priority) if above else priority
    peers = [each for each in line if each.priority == priority]
    at = sum(1 for each in line[:place] if each.priority == priority)
    position = _room(job, peers, at)
    if position is None:
        _spread(session, [*peers[:at], job, *peers[at:]], priority)
        position = (at + 1) * STRIDE
    moved = sa.update(Job).where(col(Job.id) == job_id, *_waits(job.queue))
    if not _hit(session, moved.values(priority=priority, position=position)):
        raise ConflictError(_OVER)
    session.refresh(job)
    bells.changed(session, job_id)


def _room(job: Job, peers: list[Job], at: int) -> int | None:
    """A place between two neighbours of the same priority; None where there is none left."""
    if not peers:
        return job.position
    if at == 0:
        return peers[0].position - STRIDE
    if at == len(peers):
        return peers[-1].position + STRIDE
    low, high = peers[at - 1].position, peers[at].position
    return (low + high) // 2 if high - low > 1 else None


def _spread(session: Session, peers: list[Job], priority: int) -> None:
    """Make room between all of one priority."""
    for number, job in sorted(enumerate(peers, start=1), key=lambda pair: pair[1].id or 0):  # two lock in one order
        mine = (col(Job.id) == job.id, col(Job.priority) == priority, *_waits(job.queue))
        _hit(session, sa.update(Job).where(*mine).values(position=number * STRIDE))


def _hit(session: Session, statement: sa.Update) -> bool:
    returning = statement.returning(col(Job.id)).execution_options(synchronize_session=False)
    return session.execute(everybody(returning)).first() is not None
