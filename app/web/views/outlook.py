"""What a job will do, told before it starts: rows, steps, memory, warnings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session

from app.domain.datasets.audit import AuditReport
from app.domain.datasets.models import Dataset
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.launch import train_rows
from app.domain.models.catalogue import CatalogueModel, find
from app.domain.workers import service as workers
from app.web import filters
from app.web.render import translate as _
from app.web.views.audits import AuditView

#: The catalogue's figures hold at this batch, length and rank.
USUAL_BATCH, USUAL_LENGTH, USUAL_RANK = 2, 2048, 16
#: Share of a catalogue figure that grows with batch and length.
ACTIVATION_SHARE = 0.35
GB = 1_000_000_000


@dataclass
class Outlook:
    """Items of the panel "What will happen"."""

    items: list[dict[str, Any]] = field(default_factory=list)
    memory: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)


def outlook(session: Session, dataset: Dataset, config: TrainConfig, audit: AuditView | None) -> Outlook:
    """Everything that can be said without a model."""
    found = Outlook()
    training = train_rows(dataset, config)
    held = dataset.row_count - training
    rows = _("%(a)s train, %(b)s validate", a=filters.number(training), b=filters.number(held))
    found.items.append(_item(_("Rows"), rows))
    _put_steps(found, config, training)
    if audit is not None and audit.report is not None:
        _put_tokens(found, config, audit.report)
        found.warnings += audit.warnings
    model = find(config.base_model)
    if model is not None:
        _put_model(found, session, model, config, audit)
    return found


def _item(label: str, value: str, note: str = "") -> dict[str, Any]:
    return {"label": label, "value": value, "note": note}


def _put_steps(found: Outlook, config: TrainConfig, training: int) -> None:
    steps = config.steps_for(training)
    epochs = steps * config.effective_batch_size / max(1, training)
    note = (
        _("%(n)s epochs", n=f"{epochs:.2g}")
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
    length = config.max_seq_length or report.proposed_max_seq_length
    note = "" if config.max_seq_length else _("from the audit")
    found.items.append(_item(_("Longest row"), _("%(n)s tokens", n=filters.number(length)), note))
    found.items.append(_item(_("Tokens an epoch"), filters.number(report.tokens_total)))


def _put_model(
    found: Outlook, session: Session, model: CatalogueModel, config: TrainConfig, audit: AuditView | None
) -> None:
    found.items.append(_item(_("Model"), model.parameters, model.licence))
    proposed = audit.report.proposed_max_seq_length if audit and audit.report else USUAL_LENGTH
    length = config.max_seq_length or proposed
    needed = memory_needed(model, config, length)
    found.items.append(_item(_("Memory"), filters.filesize(needed * GB), _("estimated")))
    gpu = _largest_gpu(session)
    if gpu:
        found.memory = {"needed": needed, "there": gpu / GB, "fits": needed * GB < gpu * 0.95}
        if not found.memory["fits"]:
            found.warnings.append(_("This may not fit the GPU. Lower the batch size, or load the model in 4-bit."))


def memory_needed(model: CatalogueModel, config: TrainConfig, length: int) -> float:
    """GB, by the catalogue's figure. Activations grow with batch and length, the adapter with its rank."""
    activations = model.memory_gb * ACTIVATION_SHARE
    tokens = config.per_device_train_batch_size * length / (USUAL_BATCH * USUAL_LENGTH)
    adapter = 0.05 * model.memory_gb * (config.lora_r / USUAL_RANK - 1)
    return max(0.5, model.memory_gb - activations + activations * tokens + adapter)


def _largest_gpu(session: Session) -> int:
    """Bytes of the largest GPU any living worker has; 0 when there is none."""
    sizes = [0]
    for worker in workers.list_workers(session):
        if workers.is_alive(worker):
            sizes += [int(gpu.get("memory_total", 0)) for gpu in worker.facts.get("gpus", []) if isinstance(gpu, dict)]
    return max(sizes)
