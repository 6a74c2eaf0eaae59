"""The warm stand-by of a training slot: a trainer that has loaded its libraries and waits for a job folder.

Loading them takes seconds, on a cold disk half a minute. One serves one job; the next is started when the slot is idle
again. It goes when memory gets short. Of the GPU it holds what Unsloth's import takes, unless the settings say no.
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading
from importlib.util import find_spec
from pathlib import Path

import psutil

from app.core.gpus import seen_gpus
from app.core.settings import Settings
from app.domain.jobs.states import JobKind
from worker.process import MODULES, Spawned

log = logging.getLogger(__name__)

#: What marks its command line; the number of threads follows, and an engine.
WAIT = "--wait"
#: Memory that must stay free for others, in bytes.
LEAST_FREE = 2_500_000_000
_LOOK_SECONDS = 5.0
#: Of the data folder: where they wait, and say what goes wrong before they have a job.
_FOLDER = "logs"


class StandBy:
    """At most one waiting trainer, kept by a thread that lives as long as this process.

    The kernel ends a child when the thread that started it ends, so it must be that one.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._waiting: Spawned | None = None
        self._thread: threading.Thread | None = None

    def warm(self) -> None:
        """Have one ready soon, if it is switched on and there is room."""
        if not self._settings.worker.standby:
            return
        self._wanted.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._tend, name="stand-by", daemon=True)
            self._thread.start()

    def take(self) -> Spawned | None:
        """The waiting trainer, if there is one and it lives."""
        with self._lock:
            self._wanted.clear()
            found, self._waiting = self._waiting, None
        if found is not None and found.process.poll() is not None:
            found.close()
            return None
        return found

    def let_go(self) -> None:
        """End the waiting one."""
        found = self.take()
        if found is not None:
            found.close()

    def _tend(self) -> None:
        while True:
            self._wanted.wait(_LOOK_SECONDS)
            with self._lock:
                waiting = self._waiting
                if self._wanted.is_set() and waiting is None and room():
                    self._waiting = self._start()
                self._wanted.clear()
            if waiting is not None and (waiting.process.poll() is not None or not room()):
                self.let_go()

    def _start(self) -> Spawned | None:
        folder = self._settings.root / _FOLDER
        arguments = [MODULES[JobKind.TRAIN], WAIT, str(self._settings.worker.threads), *self._engine()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return Spawned(arguments, self._settings, folder, folder / "stand-by.log")
        except (OSError, subprocess.SubprocessError) as exc:
            log.warning("No stand-by could be started: %s", exc)
            return None

    def _engine(self) -> list[str]:
        """The engine to load beyond what both need: Unsloth, where most jobs will ask for it."""
        wanted = self._settings.worker.standby_unsloth and find_spec("unsloth") is not None
        return ["unsloth"] if wanted and seen_gpus(os.environ) else []


def room() -> bool:
    """Whether there is memory to spare."""
    return bool(psutil.virtual_memory().available > LEAST_FREE)


def memory_held() -> int:
    """Bytes that stand-bys below this process hold; 0 when there is none. One that took a job has left their folder."""
    held = 0
    for child in psutil.Process().children(recursive=True):
        try:
            waits = WAIT in child.cmdline() and Path(child.cwd()).name == _FOLDER
            held += child.memory_info().rss if waits else 0
        except psutil.Error:  # it just went
            continue
    return held
