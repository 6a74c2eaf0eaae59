"""The training slots of a host: each is a worker process of its own with GPUs of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.core.gpus import ORDER, VISIBLE, all_gpus, is_named, visible
from app.core.settings import Settings


@dataclass(frozen=True)
class Slot:
    """A worker of the queue `gpu`: its name, and what its environment says beside the host's."""

    name: str
    env: dict[str, str] = field(default_factory=dict)


def training_slots(settings: Settings, environ: Mapping[str, str] = os.environ) -> list[Slot]:
    """One for every `worker.gpus_per_slot` GPUs that may be seen here; a single one is as the host is."""
    found, size = all_gpus(), settings.worker.gpus_per_slot
    names = visible(environ)
    if names is None:
        names = [str(gpu["index"]) for gpu in found]
    if not found or size == 0 or len(names) <= size:
        return [Slot(settings.worker_name)]
    devices = [(name, _number(found, name, place)) for place, name in enumerate(names)]
    groups = [devices[start : start + size] for start in range(0, len(devices), size)]
    return [_slot(settings, group, len(groups)) for group in groups]


def _number(found: list[dict[str, Any]], name: str, place: int) -> str:
    """nvidia-smi's number of a device; for what it does not list, its place."""
    return next((str(gpu["index"]) for gpu in found if is_named(gpu, name)), str(place))


def _slot(settings: Settings, devices: list[tuple[str, str]], slots: int) -> Slot:
    """Its trainings get an even share of the cores, unless the settings say how many."""
    name = f"{settings.worker_name}-gpu{'-'.join(number for _, number in devices)}"
    threads = settings.worker.threads or max(1, (os.cpu_count() or 1) // slots)
    own = {"TUNEDECK_WORKER__NAME": name, "TUNEDECK_WORKER__THREADS": str(threads)}
    return Slot(name, ORDER | own | {VISIBLE: ",".join(device for device, _ in devices)})
