"""The real Celery process, `python -m worker.celery_app gpu`, whose trainer is of the run's choosing."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from celery import signals

from app.core.process import die_with_parent
from app.domain.jobs import fence
from app.domain.jobs.states import JobKind
from worker import celery_app, process

#: Names of variables: the trainer's module, and a folder where each process of a worker leaves its number.
TRAINER_ENV, PIDS_ENV = "CHAOS_TRAINER", "CHAOS_PIDS"
_CLOCK = ("FAKETIME_TIMESTAMP_FILE", "FAKETIME_NO_CACHE", "DONT_FAKE_MONOTONIC", "FAKETIME_DONT_FAKE_MONOTONIC")


def _born(**_: Any) -> None:
    (Path(os.environ[PIDS_ENV]) / str(os.getpid())).touch()


def main() -> None:
    """Until killed."""
    die_with_parent(signal.SIGKILL)
    process.MODULES[JobKind.TRAIN] = os.environ[TRAINER_ENV]
    process._PASSED += _CLOCK  # type: ignore[assignment]
    fence.RETRY_SECONDS = 0  # a test does not wait for a second try
    signals.worker_process_init.connect(_born, weak=False)
    celery_app.main()


if __name__ == "__main__":
    main()
