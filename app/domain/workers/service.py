"""Workers say that they live; pages read it. Nothing is decided by it: that is the lease's work."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.core.db import utcnow
from app.domain.upsert import upsert
from app.domain.workers.models import Worker

#: A worker says hello this often, in seconds.
HELLO_SECONDS = 5
_SILENT = timedelta(seconds=4 * HELLO_SECONDS)


def hello(session: Session, *, name: str, queue: str, host: str, pid: int, facts: dict[str, Any]) -> None:
    """A worker has started."""
    now = utcnow()
    row = {"name": name, "queue": queue, "host": host, "pid": pid, "facts": facts}
    upsert(session, Worker, [row | {"beat": 0, "started_at": now, "last_seen": now, "draining": False}])


def still_here(session: Session, *, name: str, queue: str, facts: dict[str, Any]) -> None:
    """A worker lives."""
    mine = (col(Worker.name) == name, col(Worker.queue) == queue)
    values = {"beat": Worker.beat + 1, "last_seen": utcnow(), "facts": facts}
    session.execute(sa.update(Worker).where(*mine).values(**values))


def goodbye(session: Session, *, name: str, queue: str) -> None:
    """A worker ends as it should."""
    session.execute(sa.delete(Worker).where(col(Worker.name) == name, col(Worker.queue) == queue))


def list_workers(session: Session) -> list[Worker]:
    """All workers that are known, by name."""
    return list(session.exec(select(Worker).order_by(col(Worker.name), col(Worker.queue))))


def is_alive(worker: Worker) -> bool:
    """Whether it was heard of lately; for showing only."""
    return utcnow() - worker.last_seen < _SILENT


def someone_serves(session: Session, queue: str) -> bool:
    """Whether a living worker serves `queue`."""
    return any(worker.queue == queue and is_alive(worker) for worker in list_workers(session))
