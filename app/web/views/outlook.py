"""What a job will do, told before it starts: rows, steps, memory, warnings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session

from app.core.settings import Settings
from app.domain.datasets.audit import AuditReport
from app.domain.datasets.models import Dataset
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.launch import train_rows
from app.domain.metrics.pace import speeds_of
from app.domain.models.catalogue import find, shape_of
from app.domain.models.memory import GPUS, EngineName, Memory, estimate, in_four_bit, smaller
from app.domain.models.shapes import Shape
from app.domain.workers import service as workers
from app.web import filters
from app.web.render import translate as _
from app.web.views.audits import AuditView

#: Until an audit has said how long the rows are, in tokens.
USUAL_LENGTH = 2048


@dataclass
class Outlook:
    """Items of the panel "What will happen"."""

    items: list[dict[str, Any]] = field(default_factory=list)
    memory: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)


def outlook(
    session: Session, settings: Settings, dataset: Dataset, config: TrainConfig, audit: AuditView | None
) -> Outlook:
    """Everything that can be said before a training library is loaded."""
    found = Outlook()
    training = train_rows(dataset, config)
    held = dataset.row_count - training
    rows = _("%(a)s train, %(b)s validate", a=filters.number(training), b=filters.number(held))
    found.items.append(_item(_("Rows"), rows))
    report = audit.report if audit else None
    units = training
    if report is not None and config.packing:
        units = max(1, math.ceil(_tokens_a_row(config, report) * training / _length(config, report)))
    _put_steps(found, config, units)
    if audit is not None and report is not None:
        _put_tokens(found, config, report)
        _put_time(found, session, config, units, report)
        found.warnings += audit.warnings
    _put_model(found, session, settings, config, report)
    return found


def _item(label: str, value: str, note: str = "") -> dict[str, Any]:
    return {"label": label, "value": value, "note": note}


def _length(config: TrainConfig, report: AuditReport) -> int:
    return config.max_seq_length or report.proposed_max_seq_length


def _tokens_a_row(config: TrainConfig, report: AuditReport) -> float:
    """Mean length of a row once it is cut. The audit knows what its own limit cuts off; another one is estimated."""
    length = _length(config, report)
    cut = report.cut_tokens if length <= report.max_seq_length else 0
    return min((report.tokens_total - cut) / max(1, report.rows), length)


def _put_steps(found: Outlook, config: TrainConfig, training: int) -> None:
    steps = config.steps_for(training)
    epochs = steps * config.effective_batch_size / max(1, training)
    note = (
        _("%(n)s epochs", n=f"{epochs:,.1f}".removesuffix(".0"))
        if config.max_steps
        else _("%(n)s an epoch", n=filters.number(steps / config.num_train_epochs))
    )
    found.items.append(_item(_("Steps"), filters.number(steps), note))
    batch = f"{config.per_device_train_batch_size} × {config.gradient_accumulation_steps}"
    found.items.append(_item(_("Rows a step"), str(config.effective_batch_size), batch))
    if training < config.effective_batch_size:
        found.warnings.append(_("There are fewer rows than one step takes. Lower the batch size or the accumulation."))
    if not config.questions:
        found.warnings.append(_("No question is asked, so there will be no answers to compare."))


def _put_tokens(found: Outlook, config: TrainConfig, report: AuditReport) -> None:
    length = _length(config, report)
    note = "" if config.max_seq_length else _("from the audit")
    found.items.append(_item(_("Longest row"), _("%(n)s tokens", n=filters.number(length)), note))
    found.items.append(_item(_("Tokens an epoch"), filters.number(_tokens_a_row(config, report) * report.rows)))


def _put_time(found: Outlook, session: Session, config: TrainConfig, training: int, report: AuditReport) -> None:
    """Going by earlier runs of the same model here; nothing is said where there were none."""
    speeds = speeds_of(session, config.base_model)
    if not speeds or not report.rows:
        return
    a_row = _length(config, report) if config.packing else _tokens_a_row(config, report)
    tokens = a_row * config.effective_batch_size * config.steps_for(training)
    times = [filters.duration(tokens / speed) for speed in (max(speeds), min(speeds))]
    value = times[0] if times[0] == times[1] else _("%(a)s to %(b)s", a=times[0], b=times[1])
    note = (
        _("going by %(n)s earlier runs of this model", n=len(speeds)) if len(speeds) > 1 else _("going by its last run")
    )
    found.items.append(_item(_("Training time"), value, note))


def _put_model(
    found: Outlook, session: Session, settings: Settings, config: TrainConfig, report: AuditReport | None
) -> None:
    entry, shape = find(config.base_model), shape_of(settings, config.base_model)
    if entry is not None:
        found.items.append(_item(_("Model"), entry.parameters, entry.licence))
    if shape is None:
        found.items.append(_item(_("GPU memory"), "–", _("told once the model is on this machine")))
        return
    card, engine = _best_card(session, config)
    length = config.max_seq_length or (report.proposed_max_seq_length if report else USUAL_LENGTH)
    memory = estimate(shape, config, length, engine)
    loaded = _("in 4 bits") if in_four_bit(shape, config) else _("in 16 bits")
    found.items.append(_item(_("GPU memory"), filters.filesize(memory.total), loaded))
    found.memory = {
        "total": memory.total,
        "parts": _parts(memory),
        "cards": [(name, memory.verdict(size)) for name, size in GPUS],
        "there": card,
        "verdict": memory.verdict(card) if card else "",
    }
    if card and found.memory["verdict"] == "no":
        found.warnings.append(_advice(shape, config, length, engine, card))


def _parts(memory: Memory) -> list[tuple[str, int]]:
    return [
        (_("Weights of the base model"), memory.weights),
        (_("LoRA adapter and its gradients"), memory.adapter),
        (_("Optimiser"), memory.optimizer),
        (_("What is kept of each step"), memory.activations),
        (_("Loss over the vocabulary"), memory.loss),
        (_("CUDA and spare room"), memory.total - memory.tensors),
    ]


def _advice(shape: Shape, config: TrainConfig, length: int, engine: EngineName, card: int) -> str:
    """What would fit: the same effective batch in smaller pieces, then 4 bits, then shorter rows."""
    head = _("This will not fit the GPU of %(size)s.", size=filters.filesize(card))
    fitting = smaller(shape, config, length, engine, card)
    if fitting is None:
        return f"{head} " + _("Choose a smaller model.")
    said = ", ".join(changes(config, length, *fitting))
    return f"{head} " + _("This would: %(changes)s.", changes=said)


def changes(config: TrainConfig, length: int, changed: TrainConfig, shorter: int) -> list[str]:
    """What differs, in words."""
    said = []
    if changed.per_device_train_batch_size != config.per_device_train_batch_size:
        batch, steps = changed.per_device_train_batch_size, changed.gradient_accumulation_steps
        said.append(_("batch size %(a)s with accumulation %(b)s", a=batch, b=steps))
    if changed.load_in != config.load_in:
        said.append(_("loading in 4 bits"))
    if shorter != length:
        said.append(_("at most %(n)s tokens a row", n=filters.number(shorter)))
    return said


def _best_card(session: Session, config: TrainConfig) -> tuple[int, EngineName]:
    """Bytes of the largest GPU of a living worker (0: there is none), and the engine it would use."""
    best, engine = 0, config.engine
    for worker in workers.list_workers(session):
        if not workers.is_alive(worker):
            continue
        sizes = [int(gpu.get("total", 0)) for gpu in worker.facts.get("gpus", []) if isinstance(gpu, dict)]
        if max(sizes, default=0) > best:
            best = max(sizes)
            if config.engine == "auto":
                engine = "unsloth" if "unsloth" in worker.facts.get("engines", ()) else "hf"
    return best, "unsloth" if engine == "unsloth" else "hf"
