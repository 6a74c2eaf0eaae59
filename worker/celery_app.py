"""The Celery process of one queue: `python -m worker.celery_app QUEUE`. It loads no training library."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from celery import signals
from celery.worker.control import Panel

from app.core.context import Context, make_context
from app.core.logging import setup_logging
from app.core.process import end_with_supervisor
from app.core.queue import make_celery
from app.core.settings import get_settings
from app.core.storage import storage_refusal
from app.domain import tables
from app.domain.jobs.states import Queue
from app.domain.jobs.sweeper import Sweeper
from worker import tasks
from worker.ears import Attention, hear_again
from worker.postman import Postman
from worker.presence import Presence

__all__ = ["main", "tables"]


def _drain_file(ctx: Context, queue: str) -> Path:
    return ctx.settings.root / "run" / f"{queue}-{os.getpid()}.drain"


class WorkerProcess:
    """What lives in the main process beside Celery's own: sweeper, presence, and the drain flag."""

    def __init__(self, ctx: Context, queue: str) -> None:
        self._ctx = ctx
        self._queue = queue
        self._drain = _drain_file(ctx, queue)
        self._drain.parent.mkdir(parents=True, exist_ok=True)
        self._drain.unlink(missing_ok=True)  # a killed worker had this process number
        # This process forks the one that works: it must not use S3 itself (app/core/s3.py). The web process removes.
        self._sweeper = Sweeper(ctx, removes=not ctx.storage.remote)
        self._presence = Presence(ctx, ctx.settings.worker_name, queue)
        self._attention = Attention(ctx, queue, self._drain.exists)
        self._postman = Postman(ctx) if queue == Queue.LIGHT else None
        os.environ |= {tasks.DRAIN_ENV: str(self._drain), tasks.QUEUE_ENV: queue}

    def ready(self, **_: Any) -> None:
        """Connected: look for work that came while no one listened."""
        self._sweeper.start()
        self._presence.start()  # the claim goes by what it says of this worker
        self._ctx.bells.doorbell.ring(self._queue)
        self._attention.start()
        if self._postman is not None:
            self._postman.start()

    def shutting_down(self, **_: Any) -> None:
        """Tell the pool's process to save its job and to take no other."""
        self._drain.touch()
        self._attention.stop()

    def gone(self, **_: Any) -> None:
        """The last act."""
        self._sweeper.stop()
        if self._postman is not None:
            self._postman.stop()
        self._presence.stop()
        self._drain.unlink(missing_ok=True)


#: What Flower asks for. Remote control knows more: ending the process, other queues, loading modules, writing files.
LOOKS = frozenset(
    {"active", "active_queues", "enable_events", "ping", "registered", "reserved", "revoked", "scheduled", "stats"}
)


def only_looked_at() -> None:
    """Whoever reaches the broker may look at this process (where remote control is on at all), never steer it."""
    for name in Panel.data.keys() - LOOKS:
        del Panel.data[name]
        Panel.meta.pop(name, None)  # an alias has none


def main() -> None:
    """Serve one queue until told to stop."""
    end_with_supervisor()
    queue = sys.argv[1]
    setup_logging(get_settings().log)
    if problem := storage_refusal(get_settings()):
        sys.exit(problem)
    ctx = make_context(get_settings(), worker=True)
    process = WorkerProcess(ctx, queue)
    watched = ctx.settings.worker.celery_events
    hear_again()
    celery = make_celery(ctx.settings.broker, watched=watched)
    tasks.register(celery)
    only_looked_at()
    signals.worker_ready.connect(process.ready, weak=False)
    signals.worker_shutting_down.connect(process.shutting_down, weak=False)
    signals.worker_shutdown.connect(process.gone, weak=False)
    quiet = ["--without-gossip", "--without-mingle", "--loglevel=WARNING"]
    quiet += [] if watched else ["--without-heartbeat"]
    name = f"{queue}@{ctx.settings.worker_name}"
    celery.worker_main(["worker", "-Q", queue, "-c", "1", "-P", "prefork", "-n", name, *quiet])


if __name__ == "__main__":
    main()
