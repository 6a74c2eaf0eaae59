"""A worker process without Celery: `python -m tests.chaos.worker NAME` runs and sweeps; `sweeper` only sweeps.

Celery only rings, and a ring may be lost; here nobody ever rings (no Redis runs), and the worker looks by itself.
"""

from __future__ import annotations

import signal
import sys
import time

from app.core.context import make_context
from app.core.logging import setup_logging
from app.core.process import die_with_parent
from app.domain import tables
from app.domain.jobs import fence
from app.domain.jobs.states import JobKind
from app.domain.jobs.sweeper import Sweeper
from worker import process
from worker.runner import Runner

__all__ = ["main", "tables"]


def main() -> None:
    """Until killed."""
    die_with_parent(signal.SIGKILL)
    setup_logging()
    process.MODULES[JobKind.TRAIN] = "tests.chaos.scripted"
    fence.RETRY_SECONDS = 0  # a test does not wait for a second try
    ctx = make_context(worker=True)
    Sweeper(ctx).start()
    while True:
        if sys.argv[1] != "sweeper":
            Runner(ctx, sys.argv[1], "gpu").run_waiting()
        time.sleep(0.1)


if __name__ == "__main__":
    main()
