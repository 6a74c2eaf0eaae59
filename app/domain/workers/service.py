"""Workers say that they live and what they have. Pages and claims read it; whose a job is, the lease decides."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.core.db import utcnow
from app.core.live import Bells
from app.domain.errors import NotFoundError
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


def find(session: Session, name: str, queue: str) -> Worker | None:
    """The worker, if it was heard of."""
    return session.get(Worker, (name, queue), populate_existing=True)


def drain(session: Session, bells: Bells, name: str, queue: str) -> Worker:
    """Let the worker save its job and take no other. Callers commit. Raises `NotFoundError`."""
    return _set_draining(session, bells, name, queue, draining=True)


def resume(session: Session, bells: Bells, name: str, queue: str) -> Worker:
    """Let the worker take jobs again, and call it. Callers commit. Raises `NotFoundError`."""
    worker = _set_draining(session, bells, name, queue, draining=False)
    bells.work(session, queue)
    return worker


def _set_draining(session: Session, bells: Bells, name: str, queue: str, *, draining: bool) -> Worker:
    mine = (col(Worker.name) == name, col(Worker.queue) == queue)
    session.execute(sa.update(Worker).where(*mine).values(draining=draining))
    worker = find(session, name, queue)
    if worker is None:
        raise NotFoundError(f"No worker “{name[:80]}” of the queue “{queue[:40]}” is known. It may have ended.")
    bells.changed(session, 0)
    return worker


def is_draining(session: Session, name: str, queue: str) -> bool:
    """Whether the worker is to save its job and take no other."""
    mine = (col(Worker.name) == name, col(Worker.queue) == queue)
    return bool(session.execute(sa.select(col(Worker.draining)).where(*mine)).scalar_one_or_none())


def list_workers(session: Session) -> list[Worker]:
    """All workers that are known, by name."""
    return list(session.exec(select(Worker).order_by(col(Worker.name), col(Worker.queue))))


def is_alive(worker: Worker) -> bool:
    """Whether it was heard of lately; never asked where a job's fate hangs on it."""
    return utcnow() - worker.last_seen < _SILENT


def living(session: Session) -> list[Worker]:
    """Workers that were heard of lately."""
    return [worker for worker in list_workers(session) if is_alive(worker)]


def someone_serves(session: Session, queue: str) -> bool:
    """Whether a living worker serves `queue`."""
    return any(worker.queue == queue for worker in living(session))
