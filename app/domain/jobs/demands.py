"""What a job asks of a worker, and what a worker has: the claim and the pages go by the same three columns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlmodel import Session, col

from app.domain.jobs.models import Job
from app.domain.jobs.states import JobKind
from app.domain.workers import service as workers
from app.domain.workers.models import Worker

#: A demand that nobody meets; `together`: each is met by some worker, but not all by one; `drained`: none may start.
Unmet = Literal["gpus", "min_gpu_memory_gb", "worker_label", "together", "drained"]
Asked = Literal["gpus", "min_gpu_memory_gb", "worker_label"]
_ASKED: tuple[Asked, ...] = ("gpus", "min_gpu_memory_gb", "worker_label")


@dataclass(frozen=True)
class Demand:
    """GPUs of one worker (0: none needed), GB of its largest one (0: any), a label ("": any)."""

    gpus: int = 0
    min_gpu_memory_gb: float = 0.0
    worker_label: str = ""


def demand_of(kind: JobKind, config: Mapping[str, Any]) -> Demand:
    """What a job with these settings asks for; only a training asks for anything."""
    if kind != JobKind.TRAIN:
        return Demand()
    known = {"gpus": 1} | {name: config[name] for name in _ASKED if name in config}
    return Demand(**known)


@dataclass(frozen=True)
class Offer:
    """GPUs of a worker, GB of its largest one, its labels. `spare`: it has no GPU, nor has any other worker."""

    gpus: int = 0
    memory_gb: float = 0.0
    labels: Collection[str] = ()
    spare: bool = True

    @property
    def most(self) -> int:
        """GPUs that a job may ask for here: without any in the house, the CPU stands for one."""
        return max(self.gpus, int(self.spare))


def offer_of(worker: Worker | None, others: Sequence[Worker]) -> Offer:
    """What `worker` has, as it said; `others`: those heard of lately, for a CPU trains only where no GPU is."""
    if worker is None:  # not heard of yet
        return Offer()
    sizes = [int(gpu.get("total", 0)) for gpu in worker.facts.get("gpus", []) if isinstance(gpu, dict)]
    labels = frozenset(str(label) for label in worker.facts.get("labels", []))
    alone = not any(other.facts.get("gpus") for other in others if other.queue == worker.queue)
    return Offer(len(sizes), max(sizes, default=0) / 1e9, labels, spare=alone and not sizes)


def can_serve(offer: Offer) -> list[sa.ColumnElement[bool]]:
    """The conditions on a row of `job`; `meets` says the same of one."""
    return [
        col(Job.gpus) <= offer.most,
        col(Job.min_gpu_memory_gb) <= offer.memory_gb,
        col(Job.worker_label).in_(["", *sorted(offer.labels)]),
    ]


def meets(offer: Offer, demand: Demand | Job) -> dict[str, bool]:
    """Demand -> whether the worker meets it."""
    return {
        "gpus": demand.gpus <= offer.most,
        "min_gpu_memory_gb": demand.min_gpu_memory_gb <= offer.memory_gb,
        "worker_label": demand.worker_label in {"", *offer.labels},
    }


def unmet(session: Session, queue: str, demand: Demand | Job) -> list[Unmet]:
    """Which demands no living worker of `queue` meets; none when one can serve it, or when there is no worker."""
    living = [worker for worker in workers.living(session) if worker.queue == queue]
    found = [(worker, meets(offer_of(worker, living), demand)) for worker in living]
    able = [worker for worker, met in found if all(met.values())]
    if able or not found:
        return [] if not able or any(not worker.draining for worker in able) else ["drained"]
    missing: list[Unmet] = [name for name in _ASKED if not any(met[name] for _, met in found)]
    return missing or ["together"]
