"""What a worker says about its machine, and the thread that says it."""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import psutil
import sqlalchemy as sa

from app.core.context import Context
from app.core.gpus import seen_gpus
from app.domain.workers import service as workers
from worker.standby import memory_held

log = logging.getLogger(__name__)
_LIBRARIES = ("torch", "transformers", "trl", "peft", "unsloth", "xllamacpp")


def facts(disk_free: int, labels: Sequence[str] = ()) -> dict[str, Any]:
    """Cores, memory in bytes, room on the disk, GPUs that may be seen, labels, engines and versions.

    None of the libraries is imported.
    """
    memory = psutil.virtual_memory()
    versions = {name: metadata.version(name) for name in _LIBRARIES if importlib.util.find_spec(name) is not None}
    found = seen_gpus(os.environ)
    engines = [name for name, needs in (("hf", "trl"), ("unsloth", "unsloth")) if needs in versions]
    return {
        "cores": os.cpu_count() or 1,
        "memory_total": memory.total,
        "memory_used": memory.total - memory.available,
        "load": round(os.getloadavg()[0], 2),
        "standby": memory_held(),
        "disk_free": disk_free,
        "gpus": found,
        "labels": sorted(set(labels)),
        "engines": engines,
        "versions": versions,
        "platform": platform.platform(terse=True),
    }


class Presence:
    """Keeps this worker's row alive."""

    def __init__(self, ctx: Context, name: str, queue: str) -> None:
        self._ctx = ctx
        self._who = {"name": name, "queue": queue}
        self._greeted = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="presence", daemon=True)

    def start(self) -> None:
        """Say hello, again and again until the database hears it, and go on. The claim goes by what is said."""
        self._greeted = self._try(self._hello)
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye."""
        self._stop.set()
        self._thread.join(timeout=10)
        self._try(self._goodbye)

    def _facts(self) -> dict[str, Any]:
        return facts(self._ctx.storage.free_bytes(), self._ctx.settings.worker.labels)

    def _loop(self) -> None:
        while not self._stop.wait(workers.HELLO_SECONDS):
            self._greeted = self._try(self._still_here if self._greeted else self._hello) or self._greeted

    @staticmethod
    def _try(say: Callable[[], None]) -> bool:
        try:
            say()
        except (OSError, sa.exc.SQLAlchemyError, subprocess.SubprocessError) as exc:
            log.warning("This worker could not say that it lives: %s", exc)
            return False
        return True

    def _hello(self) -> None:
        with self._ctx.db.session(write=True) as session:
            workers.hello(session, **self._who, host=socket.gethostname(), pid=os.getpid(), facts=self._facts())

    def _still_here(self) -> None:
        with self._ctx.db.session(write=True) as session:
            workers.still_here(session, **self._who, facts=self._facts())

    def _goodbye(self) -> None:
        with self._ctx.db.session(write=True) as session:
            workers.goodbye(session, **self._who)
