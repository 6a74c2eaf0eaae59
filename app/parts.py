"""The processes that a supervisor starts, minds and ends: of `tunedeck up`, and of a worker with several slots."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from app.core.process import SUPERVISED_ENV
from app.core.settings import Settings
from app.core.slots import Slot, training_slots
from app.domain.jobs.states import Queue

log = logging.getLogger(__name__)


class Part:
    """One process of the whole, started again when it dies. `output`: where it writes; None: where we do."""

    def __init__(self, name: str, command: list[str], env: dict[str, str], output: Path | None) -> None:
        self.name = name
        self._command = command
        self._env = env
        self._output = output
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._wait = 1.0

    def start(self) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches only the supervisor."""
        self._started = time.monotonic()
        output = self._output.open("ab") if self._output else None
        try:
            self._process = subprocess.Popen(
                self._command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            if output is not None:
                output.close()

    def mind(self) -> None:
        """Start it again if it died, after a growing pause."""
        if self._process is None or self._process.poll() is None:
            return
        lived = time.monotonic() - self._started
        if lived < self._wait:
            return
        where = f" See {self._output}" if self._output else ""
        log.warning("%s ended (exit code %s); starting it again.%s", self.name, self._process.returncode, where)
        self._wait = 1.0 if lived > 60 else min(self._wait * 2, 30.0)
        self.start()

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def finish(self, seconds: float) -> None:
        """Wait for its end, then insist."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            log.warning("%s did not end in time; killing it.", self.name)
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def worker_parts(
    settings: Settings, queues: Iterable[Queue], env: Mapping[str, str], logs: Path | None = None
) -> list[Part]:
    """The worker processes of this host, not started yet: one for each slot of `gpu`, one for any other queue.

    `env`: what they share; `logs`: the folder they write into; None: where we write.
    """
    made = []
    for queue in queues:
        slots = training_slots(settings, env) if queue == Queue.GPU else [Slot(settings.worker_name)]
        command = [sys.executable, "-P", "-m", "worker.celery_app", queue]
        for slot in slots:
            mark = f"{queue}{slot.name.removeprefix(settings.worker_name).removeprefix(f'-{queue}')}"
            output = logs / f"worker-{mark}.log" if logs else None
            made.append(Part(f"worker {mark}", command, dict(env) | slot.env, output))
    return made


def mind_parts(parts: Sequence[Part], stop: threading.Event, each: Callable[[], bool] = lambda: False) -> None:
    """Keep them running until Ctrl-C, SIGTERM, or until `each` (called about twice a second) says True."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(0.4):
        for part in parts:
            part.mind()
        if each():
            return


def end_parts(parts: Sequence[Part], seconds: float) -> None:
    """Ask all to end, then wait for each, and insist after `seconds`."""
    for part in parts:
        part.terminate()
    for part in parts:
        part.finish(seconds)


def run_workers(settings: Settings, queue: Queue) -> None:
    """The workers of `queue` on this host, until Ctrl-C or SIGTERM. A single one takes the place of this process."""
    slots = training_slots(settings) if queue == Queue.GPU else []
    if len(slots) < 2:
        os.execv(sys.executable, [sys.executable, "-P", "-m", "worker.celery_app", queue])  # noqa: S606 - our own program
    parts = worker_parts(settings, [queue], os.environ | {SUPERVISED_ENV: str(os.getpid())})
    for part in parts:
        part.start()
    try:
        mind_parts(parts, threading.Event())
    finally:
        end_parts(parts, settings.worker.drain_seconds + 15)
