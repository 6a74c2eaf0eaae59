"""A row in tokens, in stretches: read, learned, cut."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import ValidationError

from app.domain.datasets.audit import RowsReport, TokenRow
from app.domain.jobs.models import Job
from app.domain.jobs.states import FINAL, JobState
from app.web import filters
from app.web.render import translate as _


@dataclass(frozen=True)
class TokenView:
    """`parts`: (kind, text), kind being read, learned or cut; learned and cut ones are one token each."""

    job: Job
    parts: list[tuple[str, str]] = field(default_factory=list)
    sentence: str = ""
    problem: str = ""

    @property
    def is_running(self) -> bool:
        return self.job.job_state not in FINAL

    @property
    def error(self) -> str:
        return str(self.job.error.get("message", "")) if self.job.state == JobState.FAILED else ""


def token_view(job: Job, number: int, length: int) -> TokenView:
    """What the job found of row `number`, cut at `length` tokens (0: whole)."""
    if job.state != JobState.SUCCEEDED:
        return TokenView(job)
    try:
        rows = RowsReport.model_validate(job.result).rows
    except ValidationError:
        return TokenView(job)
    row = next((row for row in rows if row.number == number), None)
    if row is None or row.problem:
        return TokenView(job, problem=row.problem if row else _("This row is not among those looked at."))
    return TokenView(job, _parts(row, length), _sentence(row, length))


def _parts(row: TokenRow, length: int) -> list[tuple[str, str]]:
    learned = {k for first, end in row.learned for k in range(first, end)}
    parts: list[tuple[str, str]] = []
    for k, token in enumerate(row.tokens):
        kind = "cut" if 0 < length <= k else "learned" if k in learned else "read"
        if kind == "read" and parts and parts[-1][0] == "read":
            parts[-1] = (kind, parts[-1][1] + token)
        elif token:
            parts.append((kind, token))
    return parts


def _sentence(row: TokenRow, length: int) -> str:
    learned = sum(max(0, min(end, length or end) - first) for first, end in row.learned)
    all_of_them, some = filters.number(row.full_length), filters.number(learned)
    said = [_("%(n)s tokens, %(m)s of them learned.", n=all_of_them, m=some)]
    if 0 < length < row.full_length:
        cut = filters.number(row.full_length - length)
        said.append(_("%(n)s are cut at the end.", n=cut))
        if not learned:
            said.append(_("Nothing is left to learn, so the row is left out."))
    if len(row.tokens) < row.full_length:
        said.append(_("The first %(n)s are shown.", n=filters.number(len(row.tokens))))
    return " ".join(said)
