"""A queue that is held: what runs goes on, nothing new starts. Callers commit."""

from __future__ import annotations

import sqlalchemy as sa
from sqlmodel import Session, col

from app.core.db import utcnow
from app.core.live import Bells
from app.domain.errors import InvalidError
from app.domain.jobs.models import Job, QueueHold
from app.domain.jobs.service import first_waiting
from app.domain.jobs.states import LEASED, Queue
from app.domain.upsert import upsert


def held(session: Session) -> set[str]:
    """The queues that are held."""
    return set(session.execute(sa.select(col(QueueHold.queue))).scalars())


def hold(session: Session, bells: Bells, queue: str) -> None:
    """Start nothing new."""
    upsert(session, QueueHold, [{"queue": _known(queue), "held_at": utcnow()}])
    bells.changed(session, 0)


def let_go(session: Session, bells: Bells, queue: str) -> None:
    """Go on, and call the workers."""
    session.execute(sa.delete(QueueHold).where(col(QueueHold.queue) == _known(queue)))
    bells.work(session, queue)
    bells.changed(session, 0)


def _known(queue: str) -> str:
    if queue not in set(Queue):
        raise InvalidError(f"There is no queue “{queue[:40]}”.", field="queue")
    return queue


def idles_beside_work(session: Session, queue: str, worker: str) -> bool:
    """Whether a job waits that `worker` could take, and it holds none of `queue`."""
    mine = (col(Job.queue) == queue, col(Job.worker) == worker, col(Job.state).in_(list(LEASED)))
    if session.execute(sa.select(sa.exists().where(*mine))).scalar_one():
        return False
    waiting = first_waiting(session, queue, worker)
    return waiting is not None and session.execute(waiting).first() is not None
