"""What a job will do, told before it starts: rows, steps, memory, warnings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session

from app.core.settings import Settings
from app.core.storage import LocalStorage
from app.domain.datasets import sides
from app.domain.datasets.audit import AuditReport
from app.domain.datasets.models import Dataset
from app.domain.errors import NoSpaceError
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.demands import demand_of
from app.domain.jobs.launch import train_rows
from app.domain.jobs.states import JobKind
from app.domain.metrics.forecast import Wish, forecast
from app.domain.models.catalogue import find, shape_of
from app.domain.models.memory import GPUS, EngineName, Memory, estimate, in_four_bit, smaller
from app.domain.models.plan import Plan
from app.domain.models.shapes import Shape
from app.domain.models.speed import tflops
from app.domain.preferences import service as preferences
from app.domain.preferences.service import Prices
from app.domain.space.estimate import refuse_without_room, training_bytes
from app.domain.workers import service as workers
from app.web import filters
from app.web.render import translate as _
from app.web.views.audits import AuditView
from app.web.views.demands import train_demand_words
from app.web.views.machine import Machine, chosen, likely_machine
from app.web.views.proposals import Proposal, proposals

#: Until an audit has said how long the rows are, in tokens.
USUAL_LENGTH = 2048


@dataclass
class Outlook:
    """Items of the panel "What will happen"."""

    items: list[dict[str, Any]] = field(default_factory=list)
    memory: dict[str, Any] | None = None
    #: What is chosen for the card, as (name, value); empty without a card.
    chosen: list[tuple[str, str]] = field(default_factory=list)
    #: Why something was chosen that is not the usual.
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    #: What the rows suggest, where it differs from what is typed.
    proposals: list[Proposal] = field(default_factory=list)


def outlook(
    session: Session, settings: Settings, dataset: Dataset, config: TrainConfig, audit: AuditView | None
) -> Outlook:
    """Everything that can be said before a training library is loaded."""
    found = Outlook()
    training = train_rows(dataset, config)
    marked = sides.counts(dataset.stats)
    held = _held_out(session, config) if config.validation_dataset else dataset.row_count - training
    if config.split_by_file:
        held = marked.get(sides.VALIDATION, 0)
    elif marked.get(sides.VALIDATION) or marked.get(sides.TEST):
        found.warnings.append(
            _("The rows themselves say which are held out. Choose “As the file says”, or they are trained on.")
        )
    rows = _("%(a)s train, %(b)s validate", a=filters.number(training), b=filters.number(held))
    found.items.append(_item(_("Rows"), rows))
    report = audit.report if audit else None
    units = training
    if report is not None and config.packing:
        units = max(1, math.ceil(_tokens_a_row(config, report) * training / _length(config, report)))
    _put_steps(found, config, units)
    if audit is not None and report is not None:
        _put_tokens(found, config, report)
        found.warnings += audit.warnings
        found.proposals = proposals(report, config)
    _put_machine(found, session, settings, config, units, report)
    demand = demand_of(JobKind.TRAIN, config.model_dump())
    found.warnings += [f"{said} " + _("Until one can, the job waits.") for said in train_demand_words(session, demand)]
    _put_disk(found, session, settings, training_bytes(settings, config, dataset.size))
    return found


def _held_out(session: Session, config: TrainConfig) -> int:
    found = session.get(Dataset, config.validation_dataset)
    return found.row_count if found else 0


def _put_disk(found: Outlook, session: Session, settings: Settings, needed: int) -> None:
    """What it will write, and whether the fullest disk of a living worker holds that."""
    if not needed:
        return
    told = [worker.facts.get("disk_free") for worker in workers.list_workers(session) if workers.is_alive(worker)]
    free = min((size for size in told if size), default=LocalStorage(settings.files_dir).free_bytes())
    left = _("%(n)s left", n=filters.filesize(free))
    found.items.append(_item(_("Disk"), _("about %(n)s", n=filters.filesize(needed)), left))
    try:
        refuse_without_room(_("This training"), needed, free)
    except NoSpaceError as exc:
        found.warnings.append(f"{exc.message} " + _("Make room on the Storage page first, or it will not start."))


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


def _put_machine(
    found: Outlook,
    session: Session,
    settings: Settings,
    config: TrainConfig,
    units: int,
    report: AuditReport | None,
) -> None:
    """The model, what is chosen for the card, its memory, the time and what that costs."""
    entry, shape = find(config.base_model), shape_of(settings, config.base_model)
    length = config.max_seq_length or (report.proposed_max_seq_length if report else USUAL_LENGTH)
    mean = float(length) if config.packing or report is None else _tokens_a_row(config, report)
    machine = likely_machine(session, config)
    settled = machine.plan_of(config, shape, length, mean)
    if report is not None and report.rows:
        again = settled.gradient_checkpointing if settled else False
        used = settled.config if settled else config
        wish = Wish(used, shape, mean, machine.engine, again, tflops(machine.card), machine.worker)
        tokens = mean * config.effective_batch_size * config.steps_for(units)
        _put_time(found, session, settings, wish, tokens)
    if entry is not None:
        found.items.append(_item(_("Model"), entry.parameters, entry.licence))
    if settled is not None:
        found.chosen = chosen(settled, machine.engine)
        found.notes = list(settled.notes)
    if shape is None:
        found.items.append(_item(_("GPU memory"), "–", _("told once the model is on this machine")))
        return
    _put_memory(found, shape, settled, config, length, machine)


def _put_time(found: Outlook, session: Session, settings: Settings, wish: Wish, tokens: float) -> None:
    """With its interval; nothing is said where nothing is known."""
    told = forecast(session, settings, wish)
    if told is None:
        return
    times = [tokens / (speed * wish.config.gpus) for speed in (told.fast, told.slow)]
    words = [filters.duration(seconds) for seconds in times]
    value = words[0] if words[0] == words[1] else _("%(a)s to %(b)s", a=words[0], b=words[1])
    notes = {
        "same model": _("going by %(n)s earlier runs of this model", n=told.runs)
        if told.runs > 1
        else _("going by its last run"),
        "other models": _("going by runs of other models here"),
        "card": _("a guess from the card; better after a first run"),
    }
    found.items.append(_item(_("Training time"), value, notes[told.basis]))
    price = preferences.read(session, Prices)
    if wish.card_tflops and price.gpu_hour:
        costs = [seconds / 3600 * wish.config.gpus * price.gpu_hour for seconds in times]
        said = filters.money(costs, price.currency)
        a_unit = _("at %(price)s a GPU hour", price=filters.money([price.gpu_hour], price.currency))
        found.items.append(_item(_("Cost"), said, a_unit))


def _put_memory(
    found: Outlook, shape: Shape, settled: Plan | None, config: TrainConfig, length: int, machine: Machine
) -> None:
    used = settled.config if settled else config
    again = settled.gradient_checkpointing if settled else None
    memory = estimate(shape, used, length, machine.engine, checkpointing=again)
    loaded = _("in 4 bits") if in_four_bit(shape, used) else _("in 16 bits")
    found.items.append(_item(_("GPU memory"), filters.filesize(memory.total), loaded))
    found.memory = {
        "total": memory.total,
        "parts": _parts(memory),
        "cards": [(name, machine.on(size).verdict_of(config, shape, length)) for name, size in GPUS],
        "there": machine.memory,
        "verdict": memory.verdict(machine.memory) if machine.memory else "",
    }
    if found.memory["verdict"] == "no":
        found.warnings.append(_advice(shape, used, length, machine.engine, machine.memory))


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
