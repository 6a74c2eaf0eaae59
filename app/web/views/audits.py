"""Audit reports as pages show them: what will really be trained on, and what to watch out for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from app.domain.datasets.audit import AuditReport
from app.domain.jobs.models import Job
from app.domain.jobs.states import FINAL, JobState
from app.web import filters
from app.web.render import translate as _
from app.web.views.audit_words import kind_of_secret, order_words, warnings_of


@dataclass(frozen=True)
class AuditView:
    """One audit: its numbers, its histogram, its warnings."""

    job: Job
    base_model: str
    report: AuditReport | None
    warnings: list[str] = field(default_factory=list)

    @property
    def revision(self) -> str:
        return str(self.job.config.get("revision", ""))

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
            (_("Middle row"), _tokens(report.row_lengths.p50)),
            (_("99 %% are up to"), _tokens(report.row_lengths.p99)),
            (_("Longest"), _tokens(report.row_lengths.max)),
            (_("Length proposed"), _tokens(report.proposed_max_seq_length)),
        ]
        return _items(numbers)

    @property
    def folds(self) -> list[dict[str, Any]]:
        """What is looked up rather than read: a title and items of the `keyvalues` macro each."""
        report = self.report
        if report is None:
            return []
        found = [
            (_("Lengths in tokens"), _lengths(report)),
            (_("What a longest length would cut"), _cuts(report)),
            (_("Languages"), _languages(report)),
            (_("System prompts"), _systems(report)),
            (_("Rows that are nearly the same"), _copies(report)),
            (_("Where the secrets are"), _secrets(report)),
            (_("Turns out of order"), _orders(report)),
            (_("Rows left out, by reason"), [(code, filters.number(n)) for code, n in report.problem_counts.items()]),
            (_("Rows left out"), _left_out(report)),
        ]
        rows = f"/datasets/{self.job.subject_id}/rows/"
        return [{"title": title, "items": _items(items, rows)} for title, items in found if items]

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


def audit_view(job: Job, max_seq_length: int = 0) -> AuditView:
    """The audit of a job row, rows cut at `max_seq_length`; a report of an older version counts as none."""
    report = None
    if job.state == JobState.SUCCEEDED:
        try:
            report = AuditReport.model_validate(job.result).at(max_seq_length)
        except ValidationError:
            report = None
    return AuditView(job, str(job.config.get("base_model", "")), report, warnings_of(report) if report else [])


#: Lengths whose cost is told, besides the one that is asked for and the one proposed.
_LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
#: Label and value; and the number of a row that the label leads to.
Fact = tuple[str, str] | tuple[str, str, int]
Facts = Sequence[Fact]
_SHOWN_ROWS, _SHOWN_WORDS = 10, 160


def _items(facts: Facts, rows: str = "") -> list[dict[str, str]]:
    """`rows`: address below which the rows lie."""
    return [
        {"label": fact[0], "value": fact[1]} | ({"href": f"{rows}{fact[2]}"} if len(fact) == 3 else {})
        for fact in facts
    ]


def _row(number: int, value: str) -> Fact:
    return _("Row %(n)s", n=filters.number(number)), value, number


def _orders(report: AuditReport) -> Facts:
    return [_row(each.first_row, order_words(each)) for each in report.roles]


def _left_out(report: AuditReport) -> Facts:
    return [_row(each.row, each.message[:_SHOWN_WORDS]) for each in report.problems[:_SHOWN_ROWS]]


def _tokens(count: int) -> str:
    return _("%(n)s tokens", n=filters.number(count))


def _lengths(report: AuditReport) -> Facts:
    words = {"p10": _("A tenth up to"), "p50": _("Half up to"), "p90": _("90 %% up to"), "p99": _("99 %% up to")}
    rows, learned = report.row_lengths, report.learned_lengths
    return [
        (word, _("%(a)s, learned %(b)s", a=filters.number(getattr(rows, q)), b=filters.number(getattr(learned, q))))
        for q, word in (words | {"max": _("Longest")}).items()
    ]


def _cuts(report: AuditReport) -> Facts:
    lengths = sorted({*_LENGTHS, report.max_seq_length, report.proposed_max_seq_length})
    return [
        (_tokens(cut.length), _("%(a)s rows, %(b)s tokens", a=filters.number(cut.rows), b=filters.number(cut.tokens)))
        for cut in map(report.cut, lengths)
        if cut.rows or cut.length == report.max_seq_length
    ]


def _languages(report: AuditReport) -> Facts:
    return [(each.code, filters.percent(each.rows / report.languages_looked_at)) for each in report.languages]


def _systems(report: AuditReport) -> Facts:
    found = [(each.text, filters.number(each.rows)) for each in report.system_prompts.common]
    without = report.system_prompts.rows_without
    return [*found, (_("without one"), filters.number(without))] if found else []


def _copies(report: AuditReport) -> Facts:
    return [_row(pair.row, _("like row %(n)s", n=pair.like)) for pair in report.copies.examples]


def _secrets(report: AuditReport) -> Facts:
    return [
        _row(example.row, f"{kind_of_secret(each.kind)}: {example.masked}")
        for each in report.secrets
        for example in each.examples
    ]
