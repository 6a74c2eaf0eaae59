"""A sweep as its page shows it: field values against validation loss, and the best of them laid over each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.comparison import Run, best
from app.domain.jobs.models import Job
from app.domain.jobs.states import FINAL, LEASED, JobState
from app.domain.sweeps.models import Sweep
from app.web import filters
from app.web.render import translate as _
from app.web.views.chosen import shown
from app.web.views.compare import MOST
from app.web.views.fields import BY_NAME
from app.web.views.jobs import JobView, job_view


@dataclass(frozen=True)
class SweepRow:
    """One combination. `mark`: the number of its colour in the curves; 0: it is not drawn."""

    view: JobView
    values: list[str]
    loss: str
    #: It has not ended: the loss is that of its last look.
    early: bool
    best: bool
    mark: int
    time: str


def labels(sweep: Sweep) -> list[str]:
    """Heads of the columns of values."""
    return [_(BY_NAME[name].label) for name in sweep.fields]


def drawn(runs: Sequence[Run]) -> list[Run]:
    """As many as there are colours for: those with the lowest loss, in the order of the grid."""
    by_loss = sorted(runs, key=lambda run: math.inf if run.held_out is None else run.held_out)
    chosen = {run.job.id for run in by_loss[:MOST]}
    return [run for run in runs if run.job.id in chosen]


def sweep_rows(sweep: Sweep, runs: Sequence[Run]) -> list[SweepRow]:
    """Every combination, in the order of the grid."""
    marks = {run.job.id: mark for mark, run in enumerate(drawn(runs), start=1)}
    lowest = best(runs)
    return [
        SweepRow(
            job_view(run.job),
            [shown(name, run.job.config.get(name)) for name in sweep.fields],
            filters.loss(run.held_out),
            run.held_out is not None and run.job.job_state not in FINAL,
            run is lowest,
            marks.get(run.job.id, 0),
            filters.duration(run.busy) if run.busy else "–",
        )
        for run in runs
    ]


def counts(jobs: Sequence[Job]) -> dict[str, Any]:
    """How many are in which state, in words, and how many have not begun."""
    states = [job.job_state for job in jobs]
    done, running = states.count(JobState.SUCCEEDED), sum(state in LEASED for state in states)
    waiting, paused = states.count(JobState.QUEUED), states.count(JobState.PAUSED)
    rest = len(states) - done - running - waiting - paused
    parts = [
        (done, _("%(n)s succeeded", n=done)),
        (running, _("%(n)s running", n=running)),
        (waiting, _("%(n)s waiting", n=waiting)),
        (paused, _("%(n)s paused", n=paused)),
        (rest, _("%(n)s failed or cancelled", n=rest)),
    ]
    return {"words": ", ".join(words for number, words in parts if number), "waiting": waiting}
