"""The Celery process of one queue: `python -m worker.celery_app QUEUE`. It loads no training library."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from celery import signals

from app.core.context import Context, make_context
from app.core.logging import setup_logging
from app.core.process import end_with_supervisor
from app.core.queue import make_celery
from app.core.settings import get_settings
from app.core.storage import storage_refusal
from app.domain import tables
from app.domain.jobs.sweeper import Sweeper
from worker import tasks
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
        # This process forks the one that works: it must not use S3 itself (app/core/s3.py). The web process removes.
        self._sweeper = Sweeper(ctx, removes=not ctx.storage.remote)
        self._presence = Presence(ctx, ctx.settings.worker_name, queue)
        os.environ[tasks.DRAIN_ENV] = str(self._drain)

    def ready(self, **_: Any) -> None:
        """Connected: look for work that came while no one listened."""
        self._sweeper.start()
        self._ctx.bells.doorbell.ring(self._queue)
        self._presence.start()

    def shutting_down(self, **_: Any) -> None:
        """Tell the pool's process to save its job and to take no other."""
        self._drain.touch()

    def gone(self, **_: Any) -> None:
        """The last act."""
        self._sweeper.stop()
        self._presence.stop()
        self._drain.unlink(missing_ok=True)


def main() -> None:
    """Serve one queue until told to stop."""
    end_with_supervisor()
    queue = sys.argv[1]
    setup_logging()
    if problem := storage_refusal(get_settings()):
        sys.exit(problem)
    ctx = make_context(get_settings(), worker=True)
    process = WorkerProcess(ctx, queue)
    celery = make_celery(ctx.settings.broker)
    tasks.register(celery)
    signals.worker_ready.connect(process.ready, weak=False)
    signals.worker_shutting_down.connect(process.shutting_down, weak=False)
    signals.worker_shutdown.connect(process.gone, weak=False)
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING"]
    name = f"{queue}@{ctx.settings.worker_name}"
    celery.worker_main(["worker", "-Q", queue, "-c", "1", "-P", "prefork", "-n", name, *quiet])


if __name__ == "__main__":
    main()
