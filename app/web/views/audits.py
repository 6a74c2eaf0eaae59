"""Audit reports as pages show them: what will really be trained on, and what to watch out for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from app.domain.datasets.audit import AuditReport
from app.domain.jobs.models import Job
from app.domain.jobs.states import FINAL, JobState
from app.web import filters
from app.web.render import translate as _
from app.web.render import translate_many


@dataclass(frozen=True)
class AuditView:
    """One audit: its numbers, its histogram, its warnings."""

    job: Job
    base_model: str
    report: AuditReport | None
    warnings: list[str] = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        return self.job.job_state not in FINAL

    @property
    def error(self) -> str:
        return str(self.job.error.get("message", "")) if self.job.state == JobState.FAILED else ""

    @property
    def badge(self) -> str:
        if self.report is None:
            return self.job.state
        return "problems" if self.warnings else "ready"

    @property
    def items(self) -> list[dict[str, str]]:
        """Items of the `keyvalues` macro."""
        report = self.report
        if report is None:
            return []
        share = report.supervised_total / max(1, report.tokens_total)
        numbers = [
            (_("Tokens"), filters.number(report.tokens_total)),
            (_("Learned from"), filters.percent(share)),
            (_("Middle row"), _("%(n)s tokens", n=filters.number(report.p50))),
            (_("99 %% are up to"), _("%(n)s tokens", n=filters.number(report.p99))),
            (_("Longest"), _("%(n)s tokens", n=filters.number(report.max))),
            (_("Length proposed"), _("%(n)s tokens", n=filters.number(report.proposed_max_seq_length))),
        ]
        return [{"label": label, "value": value} for label, value in numbers]

    @property
    def bars(self) -> list[dict[str, Any]]:
        """Bars of the `histogram` macro; those beyond the length that rows are cut at are marked."""
        if self.report is None:
            return []
        limit = self.report.max_seq_length
        return [
            {"label": filters.number(b.start), "count": b.rows, "over": 0 < limit <= b.start}
            for b in self.report.histogram
        ]


def audit_view(job: Job) -> AuditView:
    """The audit of a job row; a report of an older version counts as none."""
    report = None
    if job.state == JobState.SUCCEEDED:
        try:
            report = AuditReport.model_validate(job.result)
        except ValidationError:
            report = None
    return AuditView(job, str(job.config.get("base_model", "")), report, warnings_of(report) if report else [])


def warnings_of(report: AuditReport) -> list[str]:
    """Sentences about what a person should know before training on these rows."""
    found = [_bad(report), _cut(report), _end_of_turn(report), _reasoning(report), *_copies(report)]
    if report.template_changed:
        found.append(report.template_note or _("The chat template is changed for training."))
    return [sentence for sentence in found if sentence]


def _bad(report: AuditReport) -> str:
    one, many = "%(n)s row will not be trained on", "%(n)s rows will not be trained on"
    if not report.bad_rows:
        return ""
    first = report.problems[0].message if report.problems else _("nothing of them is an answer to learn from.")
    return f"{translate_many(one, many, report.bad_rows)}: {first}"


def _cut(report: AuditReport) -> str:
    one = "%(n)s row is longer than %(most)s tokens and will be cut at its end."
    many = "%(n)s rows are longer than %(most)s tokens and will be cut at their end."
    most = filters.number(report.max_seq_length)
    return translate_many(one, many, report.cut_rows, most=most) if report.cut_rows else ""


def _end_of_turn(report: AuditReport) -> str:
    missing = 1 - report.end_of_turn_supervised
    if missing <= 0:
        return ""
    return _("In %(share)s of the rows the model does not learn where to stop.", share=filters.percent(missing))


def _reasoning(report: AuditReport) -> str:
    if not report.reasoning_rows or report.reasoning_kept:
        return ""
    return _("This model's chat template drops the reasoning: it will not be learned.")


def _copies(report: AuditReport) -> list[str]:
    out = []
    if report.duplicates:
        one, many = "%(n)s row repeats another word for word.", "%(n)s rows repeat others word for word."
        out.append(translate_many(one, many, report.duplicates))
    if report.leakage:
        one = "%(n)s held-out row is trained on as well, so the validation loss flatters."
        many = "%(n)s held-out rows are trained on as well, so the validation loss flatters."
        out.append(translate_many(one, many, report.leakage))
    return out
