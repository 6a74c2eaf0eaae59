"""What a worker says about its machine, and the thread that says it."""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
import shutil
import socket
import subprocess
import threading
from importlib import metadata
from typing import Any

import psutil
import sqlalchemy as sa

from app.core.context import Context
from app.domain.workers import service as workers
from worker.standby import memory_held

log = logging.getLogger(__name__)
_LIBRARIES = ("torch", "transformers", "trl", "peft", "unsloth", "xllamacpp")


def gpus() -> list[dict[str, Any]]:
    """NVIDIA devices with memory in bytes, as nvidia-smi tells; none without it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = "--query-gpu=index,name,memory.total,memory.used,utilization.gpu"
    command = [tool, query, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError) as exc:
        log.warning("nvidia-smi does not answer: %s", exc)
        return []
    return [_gpu(line.split(", ")) for line in done.stdout.splitlines() if line.count(", ") == 4]


def _gpu(cells: list[str]) -> dict[str, Any]:
    index, name, total, used, load = cells
    mib = 1024**2
    busy = float(load) if load.replace(".", "").isdigit() else None
    sizes = {"total": _whole(total) * mib, "used": _whole(used) * mib}
    return {"index": _whole(index), "name": name, **sizes, "load": busy}


def _whole(cell: str) -> int:
    """0 for what the card does not tell ("[N/A]")."""
    return int(cell) if cell.strip().isdigit() else 0


def facts() -> dict[str, Any]:
    """Cores, memory in bytes, GPUs, engines and versions, without importing any of the libraries."""
    memory = psutil.virtual_memory()
    versions = {name: metadata.version(name) for name in _LIBRARIES if importlib.util.find_spec(name) is not None}
    found = gpus()
    engines = [name for name, needs in (("hf", "trl"), ("unsloth", "unsloth")) if needs in versions]
    return {
        "cores": os.cpu_count() or 1,
        "memory_total": memory.total,
        "memory_used": memory.total - memory.available,
        "load": round(os.getloadavg()[0], 2),
        "standby": memory_held(),
        "gpus": found,
        "engines": engines,
        "versions": versions,
        "platform": platform.platform(terse=True),
    }


class Presence:
    """Keeps this worker's row alive."""

    def __init__(self, ctx: Context, name: str, queue: str) -> None:
        self._ctx = ctx
        self._who = {"name": name, "queue": queue}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="presence", daemon=True)

    def start(self) -> None:
        """Say hello and go on."""
        with self._ctx.db.session(write=True) as session:
            workers.hello(session, **self._who, host=socket.gethostname(), pid=os.getpid(), facts=facts())
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye."""
        self._stop.set()
        self._thread.join(timeout=10)
        with self._ctx.db.session(write=True) as session:
            workers.goodbye(session, **self._who)

    def _loop(self) -> None:
        while not self._stop.wait(workers.HELLO_SECONDS):
            try:
                with self._ctx.db.session(write=True) as session:
                    workers.still_here(session, **self._who, facts=facts())
            except (sa.exc.SQLAlchemyError, subprocess.SubprocessError) as exc:
                log.warning("This worker could not say that it lives: %s", exc)
