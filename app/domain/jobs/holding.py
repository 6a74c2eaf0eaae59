"""A queue that is held: what runs goes on, nothing new starts. Callers commit."""

from __future__ import annotations

import sqlalchemy as sa
from sqlmodel import Session, col

from app.core.db import utcnow
from app.core.live import Bells
from app.domain.errors import InvalidError
from app.domain.jobs.models import QueueHold
from app.domain.jobs.states import Queue
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
