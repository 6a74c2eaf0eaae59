"""The one task: a doorbell. Which job is run is decided by the claim."""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from pathlib import Path

from celery import Celery

from app.core.context import Context, make_context
from app.core.queue import RING
from app.domain.jobs.states import Queue
from worker.runner import Runner
from worker.standby import StandBy

#: Path of a file whose presence means: save, and take no other job.
DRAIN_ENV = "TUNEDECK_DRAIN_FILE"
#: The one queue that this process serves.
QUEUE_ENV = "TUNEDECK_QUEUE"
log = logging.getLogger(__name__)


@lru_cache
def _context() -> Context:
    return make_context(worker=True)


def draining() -> bool:
    """Whether this worker was told to stop."""
    path = os.environ.get(DRAIN_ENV)
    return path is not None and Path(path).exists()


@lru_cache
def _standby() -> StandBy:
    return StandBy(_context().settings)


def warm() -> None:
    """The slot is idle: have a trainer ready for its next job."""
    if not draining():
        _standby().warm()


def ring(queue: str) -> None:
    """Run what waits in `queue`. A ring for nothing does no harm."""
    if queue != os.environ.get(QUEUE_ENV):  # forged: whoever reaches the broker may write anything into a queue
        log.warning("A ring for another queue was not followed.")
        return
    ctx = _context()
    Runner(ctx, ctx.settings.worker_name, queue, draining, _standby()).run_waiting()
    if queue == Queue.GPU:
        warm()


def register(celery: Celery) -> None:
    """Make the task known to the application, and nothing else: not what Celery brings along either."""
    for name in [name for name in celery.tasks if name.startswith("celery.")]:
        celery.tasks.unregister(name)
    celery.task(name=RING)(ring)
