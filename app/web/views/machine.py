"""The machine that a new job will likely run on, and what is chosen for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlmodel import Session

from app.domain.jobs.config import TrainConfig
from app.domain.jobs.states import Queue
from app.domain.models.memory import EngineName, Verdict, estimate
from app.domain.models.plan import BF16_FROM, Card, Plan, for_devices, plan
from app.domain.models.shapes import Shape
from app.domain.workers import service as workers
from app.domain.workers.models import Worker
from app.web.render import translate as _


@dataclass(frozen=True)
class Machine:
    """A living training worker with its largest card; `memory` 0: it has none, or there is no worker."""

    worker: str = ""
    card: str = ""
    memory: int = 0
    capability: tuple[int, int] = BF16_FROM
    engine: EngineName = "hf"

    def plan_of(self, config: TrainConfig, shape: Shape | None, length: int, mean_length: float) -> Plan | None:
        """What its trainer will choose; None without a card."""
        if not self.memory:
            return None
        shared, _notes = for_devices(config, config.gpus)
        card = Card(self.memory, self.capability)
        return plan(shared, shape, length, self.engine, card, mean_length=mean_length)

    def on(self, memory: int) -> Machine:
        """The same with another card of `memory` bytes."""
        return replace(self, memory=memory)

    def verdict_of(self, config: TrainConfig, shape: Shape, length: int) -> Verdict:
        """Whether its card holds the training, once everything is chosen for it."""
        settled = self.plan_of(config, shape, length, length)
        assert settled is not None
        again = settled.gradient_checkpointing
        return estimate(shape, settled.config, length, self.engine, checkpointing=again).verdict(self.memory)


def likely_machine(session: Session, config: TrainConfig) -> Machine:
    """The living worker with the largest GPU; else any that trains."""
    living = [w for w in workers.list_workers(session) if workers.is_alive(w) and w.queue == Queue.GPU]
    found = [_machine(worker, gpu, config) for worker in living for gpu in _gpus(worker)]
    if found:
        return max(found, key=lambda machine: machine.memory)
    engine: EngineName = "unsloth" if config.engine == "unsloth" else "hf"
    return Machine(worker=living[0].name if living else "", engine=engine)


def _gpus(worker: Worker) -> list[dict[str, Any]]:
    return [gpu for gpu in worker.facts.get("gpus", []) if isinstance(gpu, dict) and gpu.get("total")]


def _machine(worker: Worker, gpu: dict[str, Any], config: TrainConfig) -> Machine:
    wanted = config.engine
    if wanted == "auto":
        wanted = "unsloth" if "unsloth" in worker.facts.get("engines", ()) and config.gpus == 1 else "hf"
    return Machine(
        worker.name,
        str(gpu.get("name", "")),
        int(gpu["total"]),
        _capability(str(gpu.get("capability", ""))),
        "unsloth" if wanted == "unsloth" else "hf",
    )


def _capability(told: str) -> tuple[int, int]:
    """8.6 as (8, 6); what is not told counts as a card of today."""
    major, _dot, minor = told.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else BF16_FROM


def chosen(settled: Plan, engine: EngineName) -> list[tuple[str, str]]:
    """What the trainer will use on the card, in words."""
    config = settled.config
    precision = {"bf16": "bfloat16", "fp16": "float16"}.get(settled.precision, settled.precision)
    return [
        (_("Engine"), {"hf": "transformers", "unsloth": "Unsloth"}[engine]),
        (_("Precision"), precision),
        (_("Weights of the base model"), _("4-bit") if settled.four_bit else _("as stored")),
        (_("Batch"), f"{config.per_device_train_batch_size} × {config.gradient_accumulation_steps}"),
        (_("Activations"), _("computed twice, to save memory") if settled.gradient_checkpointing else _("kept")),
        (_("Attention"), settled.attention if engine == "hf" else _("Unsloth's own")),
        (_("Optimiser"), {"adamw_8bit": _("AdamW, 8-bit"), "adamw_torch": "AdamW"}[settled.optim]),
    ]
