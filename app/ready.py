"""Does this part of Tunedeck work? For the health checks of containers."""

from __future__ import annotations

import urllib.error
import urllib.request

import sqlalchemy as sa

from app.core.db import Database
from app.core.settings import Settings
from app.core.slots import training_slots
from app.domain.jobs.states import Queue
from app.domain.workers import service as workers
from app.domain.workers.models import Worker


def web_problem(settings: Settings) -> str:
    """Why the web process of this host is not ready; empty when it is."""
    host = f"[{settings.web.host}]" if ":" in settings.web.host else settings.web.host
    address = f"http://{host}:{settings.web.port}/readyz"
    try:
        with urllib.request.urlopen(address, timeout=4):
            return ""
    except urllib.error.HTTPError as exc:
        return exc.read(1000).decode("utf-8", "replace")
    except OSError as exc:
        return f"{address} does not answer: {exc}"


def worker_problem(settings: Settings, queue: str) -> str:
    """Why a worker of `queue` on this host is not ready; empty when it is."""
    database = Database(settings.database)
    try:
        with database.session() as session:
            found = {worker.name: worker for worker in workers.list_workers(session) if worker.queue == queue}
    except sa.exc.SQLAlchemyError as exc:
        return f"The database does not answer: {type(exc).__name__}"
    finally:
        database.dispose()
    names = [slot.name for slot in training_slots(settings)] if queue == Queue.GPU else [settings.worker_name]
    problems = [_problem(found.get(name), queue, name) for name in names]
    return next((problem for problem in problems if problem), "")


def _problem(worker: Worker | None, queue: str, name: str) -> str:
    if worker is None:
        return f"The {queue} worker of {name} has not said hello."
    return "" if workers.is_alive(worker) else f"The {queue} worker of {name} has fallen silent."
