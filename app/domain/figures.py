"""Figures about everything at once, for machines that watch: a fixed number of grouped queries, whatever there is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.core.db import utcnow
from app.domain.deliveries import service as deliveries
from app.domain.jobs.models import Job
from app.domain.jobs.states import JobKind, JobState
from app.domain.metrics.pace import seconds_per_step
from app.domain.workers import service as workers
from app.domain.workers.models import Worker

#: What "lately" means.
WINDOW = timedelta(hours=1)
#: Beyond this many workers or GPUs of one, the rest is left out: names must not flood a time series database.
MOST_WORKERS, MOST_GPUS = 200, 16
#: Newest starts, and newest running trainings, that are looked at.
_MOST_ROWS, _MOST_RUNNING = 500, 20


@dataclass(frozen=True)
class Figures:
    """One reading. Times in seconds."""

    jobs: dict[tuple[str, str], int]
    events: int
    oldest_waiting: dict[str, float]
    #: kind -> how long those that started lately had waited.
    waits: dict[str, list[float]]
    #: Of each running training, seconds an optimiser step.
    steps: list[float]
    deliveries: dict[tuple[str, str], int]
    workers: list[Worker]


def read(session: Session) -> Figures:
    """Six queries."""
    jobs, events, oldest = _jobs(session)
    now = utcnow()
    return Figures(
        jobs=jobs,
        events=events,
        oldest_waiting={queue: max((now - since).total_seconds(), 0.0) for queue, since in oldest.items()},
        waits=_waits(session, now),
        steps=_steps(session),
        deliveries=deliveries.count_by_state(session),
        workers=workers.list_workers(session)[:MOST_WORKERS],
    )


def _jobs(session: Session) -> tuple[dict[tuple[str, str], int], int, dict[str, datetime]]:
    """Counts by kind and state, events (their numbers have no gaps), and by queue since when the first one waits."""
    group = (col(Job.kind), col(Job.state), col(Job.queue))
    query = (
        sa.select(*group, sa.func.count(), sa.func.sum(col(Job.event_seq)), sa.func.min(col(Job.created_at)))
        .where(col(Job.deleted_at).is_(None))
        .group_by(*group)
    )
    counts: dict[tuple[str, str], int] = {}
    oldest: dict[str, datetime] = {}
    events = 0
    for kind, state, queue, count, seqs, since in session.execute(query):
        counts[kind, state] = counts.get((kind, state), 0) + count
        events += int(seqs)
        if state == JobState.QUEUED:
            oldest[queue] = min(since, oldest.get(queue, since))
    return counts, events, oldest


def _waits(session: Session, now: datetime) -> dict[str, list[float]]:
    query = (
        sa.select(col(Job.kind), col(Job.created_at), col(Job.started_at))
        .where(col(Job.started_at) >= now - WINDOW)
        .order_by(col(Job.id).desc())
        .limit(_MOST_ROWS)
    )
    waits: dict[str, list[float]] = {}
    for kind, made, started in session.execute(query):
        waits.setdefault(kind, []).append(max((started - made).total_seconds(), 0.0))
    return waits


def _steps(session: Session) -> list[float]:
    running = select(Job).where(Job.kind == JobKind.TRAIN, Job.state == JobState.RUNNING)
    jobs = session.exec(running.order_by(col(Job.id).desc()).limit(_MOST_RUNNING)).all()
    return list(seconds_per_step(session, jobs).values())


def gpus_of(worker: Worker) -> list[dict[str, Any]]:
    """The cards of a living worker, as it reported them."""
    found = worker.facts.get("gpus", []) if workers.is_alive(worker) else []
    return [gpu for gpu in found if isinstance(gpu, dict)][:MOST_GPUS]
