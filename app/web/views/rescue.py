"""For a job that ran out of memory: the same job in less."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session

from app.core.settings import Settings
from app.domain.jobs import service as jobs
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.models import Job
from app.domain.models.catalogue import shape_of
from app.domain.models.memory import EngineName, in_four_bit, smaller, step_down
from app.web.views.outlook import USUAL_LENGTH, changes


@dataclass(frozen=True)
class Rescue:
    """Gentler settings, and what differs in words."""

    config: TrainConfig
    changes: str


def rescue(session: Session, settings: Settings, job: Job) -> Rescue | None:
    """At least one step gentler than `job` was, and as many more as the estimate asks for; None when there is none."""
    if (job.error or {}).get("class") != "out_of_memory":
        return None
    config = TrainConfig.model_validate(job.config)
    length = config.max_seq_length or USUAL_LENGTH
    gpu = jobs.last_of_kind(session, job.id or 0, "gpu")
    memory = gpu.payload if gpu else {}
    on_cpu = memory.get("device", "cpu") == "cpu"
    shape = shape_of(settings, config.base_model)
    way = step_down(config, length, may_quantise=not on_cpu and not (shape and in_four_bit(shape, config)))
    if way is not None and shape is not None and not on_cpu:
        engine: EngineName = "unsloth" if config.engine == "unsloth" else "hf"
        way = smaller(shape, *way, engine, int(memory["memory_total"]))
    return Rescue(way[0], ", ".join(changes(config, length, *way))) if way else None
