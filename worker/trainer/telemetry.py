"""How the machine fares while it trains: sampled by a thread of its own, so that no step waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import psutil
import torch

from worker.child import Child
from worker.trainer.protocol import Gpu


class Telemetry:
    """A `gpu` line every few seconds while open."""

    def __init__(self, child: Child, every: float = 5.0) -> None:
        self._child = child
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        psutil.cpu_percent()  # the first answer counts from here
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._say()  # with the peaks of the whole run

    def _watch(self) -> None:
        self._say()
        while not self._over.wait(self._every):
            self._say()

    def _say(self) -> None:
        with suppress(RuntimeError):  # after a fault of the card it answers nothing; the fault is told elsewhere
            self._child.events.emit(sample(self._child.step))


def sample(step: int) -> Gpu:
    """The device at `step`, or on the CPU this process; and the host."""
    memory = psutil.virtual_memory()
    host = {"host_memory": float(memory.total - memory.available), "cpu_use": psutil.cpu_percent() / 100}
    if not torch.cuda.is_available():
        used = psutil.Process().memory_info().rss
        values = {"process_memory": float(used)} | host
        return Gpu(device="cpu", memory_used=used, memory_total=memory.total, step=step, values=values)
    free, total = torch.cuda.mem_get_info()
    told = {
        "gpu_use": _of_the_driver(lambda: torch.cuda.utilization() / 100),
        "gpu_power": _of_the_driver(lambda: torch.cuda.power_draw() / 1000),
        "gpu_temperature": _of_the_driver(torch.cuda.temperature),
    }
    known = {name: value for name, value in told.items() if value is not None}
    values = {"gpu_memory": float(total - free)} | known | host
    return Gpu(
        device=torch.cuda.get_device_name(),
        memory_used=total - free,
        memory_total=total,
        peak_allocated=torch.cuda.max_memory_allocated(),
        peak_reserved=torch.cuda.max_memory_reserved(),
        utilization=None if told["gpu_use"] is None else told["gpu_use"] * 100,
        step=step,
        values=values,
    )


def _of_the_driver(ask: Callable[[], float]) -> float | None:
    """A number, where the driver's library (nvidia-ml-py) is there to ask and has one."""
    try:
        return float(ask())
    except Exception:  # noqa: BLE001 - the library is not there, or has errors of its own: no share of a card, say
        return None
