"""What the rows suggest for the form of a job, each with its reason and one click to take it."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.datasets.audit import AuditReport
from app.domain.jobs.config import TrainConfig
from app.web import filters
from app.web.render import translate as _


@dataclass(frozen=True)
class Proposal:
    """`value` is put into the form's field `name`."""

    name: str
    value: str
    sentence: str


def proposals(report: AuditReport, config: TrainConfig) -> list[Proposal]:
    """Those that differ from what is typed."""
    found = [_length(report, config), _epochs(report, config), _batch(report, config)]
    return [proposal for proposal in found if proposal is not None]


def _length(report: AuditReport, config: TrainConfig) -> Proposal | None:
    length = report.proposed_max_seq_length
    if config.max_seq_length in {0, length}:
        return None
    said = _("Longest row %(n)s: covers 99 %% of the rows, at most 2,048.", n=filters.number(length))
    return Proposal("max_seq_length", str(length), said)


def _epochs(report: AuditReport, config: TrainConfig) -> Proposal | None:
    epochs = report.proposed_epochs
    if config.max_steps or config.num_train_epochs == epochs:
        return None
    said = _("Epochs %(n)s: usual for %(rows)s rows.", n=epochs, rows=filters.number(report.good_rows))
    return Proposal("num_train_epochs", str(epochs), said)


def _batch(report: AuditReport, config: TrainConfig) -> Proposal | None:
    steps = max(1, report.proposed_batch // config.per_device_train_batch_size)
    if config.effective_batch_size == report.proposed_batch or steps == config.gradient_accumulation_steps:
        return None
    rows = filters.number(report.good_rows)
    batch = steps * config.per_device_train_batch_size
    said = _("Accumulation %(n)s, so %(batch)s rows a step: usual for %(rows)s rows.", n=steps, batch=batch, rows=rows)
    return Proposal("gradient_accumulation_steps", str(steps), said)
