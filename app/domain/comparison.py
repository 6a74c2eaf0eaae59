"""Several trainings beside each other: a fixed number of queries, however many they are."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.domain.datasets.models import Dataset
from app.domain.evaluations import service as evaluations
from app.domain.evaluations.service import Scores
from app.domain.jobs.models import Answer, Job, JobEvent, Metric
from app.domain.jobs.states import JobKind, JobState
from app.domain.metrics.pace import busy_seconds_of
from app.domain.metrics.service import Series, thin

#: The curves that are laid over each other.
CURVES = ("loss", "eval_loss")
#: Points of one of them at most: eight runs lie in one picture.
MAX_POINTS = 800
HELD_OUT = "eval_loss"


@dataclass(frozen=True)
class Run:
    """One training and what became of it."""

    job: Job
    #: None: gone, or not for whoever asks.
    dataset: Dataset | None
    scores: Scores
    answers: dict[tuple[int, str], Answer]
    #: Seconds for which workers have held it.
    busy: float
    #: The newest report of its GPU.
    gpu: dict[str, Any]
    #: Validation loss where training last looked.
    last_look: float | None

    @property
    def held_out(self) -> float | None:
        """Validation loss of the tuned model; before it has ended, of its last look."""
        final = self.scores.get(HELD_OUT, {}).get("after")
        return self.last_look if final is None else final

    @property
    def is_judged(self) -> bool:
        """Whether its validation loss is that of a model that is there."""
        return self.job.state == JobState.SUCCEEDED and self.held_out is not None


def trainings(session: Session, job_ids: Iterable[int]) -> list[Job]:
    """Those that are there for whoever asks, in the order asked for."""
    wanted = list(dict.fromkeys(job_ids))
    query = select(Job).where(col(Job.id).in_(wanted), col(Job.kind) == JobKind.TRAIN, col(Job.deleted_at).is_(None))
    found = {job.id: job for job in session.exec(query)}
    return [found[number] for number in wanted if number in found]


def read(session: Session, jobs: Sequence[Job]) -> list[Run]:
    """Six queries. `jobs` have been asked for in this session: nothing else is looked up."""
    ids = [job.id or 0 for job in jobs]
    datasets = {row.id: row for row in session.exec(select(Dataset).where(col(Dataset.id).in_(_subjects(jobs))))}
    scores, answers = evaluations.scores_of(session, ids), evaluations.answers_of(session, ids)
    busy, gpus, looks = busy_seconds_of(session, ids), _gpus(session, ids), _last_looks(session, ids)
    return [
        Run(
            job,
            datasets.get(job.subject_id),
            scores.get(number, {}),
            answers.get(number, {}),
            busy.get(number, 0.0),
            gpus.get(number, {}),
            looks.get(number),
        )
        for number, job in zip(ids, jobs, strict=True)
    ]


def best(runs: Iterable[Run]) -> Run | None:
    """The one that ended well with the lowest validation loss; None where fewer than two can be told apart."""
    judged = [run for run in runs if run.is_judged]
    lowest = min(judged, key=lambda run: run.held_out or 0.0, default=None)
    return lowest if len({run.held_out for run in judged}) > 1 else None


def _subjects(jobs: Iterable[Job]) -> set[int]:
    return {job.subject_id for job in jobs}


def _gpus(session: Session, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The newest report of each: the index is read backwards to it, whatever the log's length."""
    newest = (
        sa.select(col(JobEvent.payload))
        .where(col(JobEvent.job_id) == col(Job.id), col(JobEvent.kind) == "gpu")
        .order_by(col(JobEvent.seq).desc())
        .limit(1)
        .scalar_subquery()
    )
    rows = session.execute(sa.select(col(Job.id), newest).where(col(Job.id).in_(ids)))
    return {number: payload for number, payload in rows if payload}


def _last_looks(session: Session, ids: Sequence[int]) -> dict[int, float]:
    query = (
        sa.select(col(Metric.job_id), col(Metric.value))
        .where(col(Metric.job_id).in_(ids), col(Metric.name) == HELD_OUT)
        .order_by(col(Metric.attempt), col(Metric.step))
    )
    return {number: value for number, value in session.execute(query)}


def curves(session: Session, ids: Sequence[int]) -> dict[int, dict[str, Series]]:
    """job -> name -> (steps, values), rising steps; a later attempt replaces what an earlier one saw. One query."""
    query = (
        sa.select(col(Metric.job_id), col(Metric.name), col(Metric.step), col(Metric.value))
        .where(col(Metric.job_id).in_(ids), col(Metric.name).in_(CURVES))
        .order_by(col(Metric.job_id), col(Metric.name), col(Metric.attempt), col(Metric.step))
    )
    found: dict[tuple[int, str], Series] = {}
    for number, name, step, value in session.execute(query):
        if not math.isfinite(value):
            continue
        steps, values = found.setdefault((number, name), ([], []))
        while steps and steps[-1] >= step:
            steps.pop()
            values.pop()
        steps.append(step)
        values.append(value)
    out: dict[int, dict[str, Series]] = defaultdict(dict)
    for (number, name), points in found.items():
        out[number][name] = thin(*points, MAX_POINTS)
    return out
