"""How fast a running job steps, and how fast earlier ones went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.core.db import utcnow
from app.domain.jobs.models import Job, JobAttempt, JobEvent, Metric
from app.domain.jobs.states import JobKind, JobState

#: Newest events looked at for each job: the pace of now, and a short read whatever the job's length.
WINDOW = 200
#: Fewer steps than this say nothing: the first ones compile and fill caches.
LEAST_STEPS = 3
#: Earlier runs that are looked through.
_LOOKED_AT = 50


def seconds_per_step(session: Session, jobs: Iterable[Job]) -> dict[int, float]:
    """job -> seconds a step of its present attempt, for those that can be told; one query for all."""
    attempts = {job.id or 0: job.attempt for job in jobs}
    recent = [sa.and_(col(JobEvent.job_id) == job.id, col(JobEvent.seq) > job.event_seq - WINDOW) for job in jobs]
    if not recent:
        return {}
    query = (
        sa.select(col(JobEvent.job_id), col(JobEvent.attempt), col(JobEvent.step), col(JobEvent.at))
        .where(col(JobEvent.kind) == "metric", col(JobEvent.step).is_not(None), sa.or_(*recent))
        .order_by(col(JobEvent.job_id), col(JobEvent.seq))
    )
    points: dict[int, list[tuple[int, datetime]]] = defaultdict(list)
    for job_id, attempt, step, at in session.execute(query):
        if attempt == attempts[job_id]:
            points[job_id].append((step, at))
    paces = {job_id: _pace(line) for job_id, line in points.items()}
    return {job_id: pace for job_id, pace in paces.items() if pace is not None}


def _pace(points: list[tuple[int, datetime]]) -> float | None:
    (first, begun), (last, now) = points[0], points[-1]
    return (now - begun).total_seconds() / (last - first) if last - first >= LEAST_STEPS else None


def busy_seconds(session: Session, job: Job) -> float:
    """How long workers have held `job`, over all attempts."""
    return busy_seconds_of(session, [job.id or 0]).get(job.id or 0, 0.0)


def busy_seconds_of(session: Session, job_ids: Iterable[int]) -> dict[int, float]:
    """job -> its `busy_seconds`; one query for all."""
    out: dict[int, float] = defaultdict(float)
    for one in session.exec(select(JobAttempt).where(col(JobAttempt.job_id).in_(list(job_ids)))):
        out[one.job_id] += ((one.ended_at or utcnow()) - one.started_at).total_seconds()
    return out


@dataclass(frozen=True)
class Run:
    """A finished training: its settings, and tokens a second as a mean."""

    config: dict[str, Any]
    speed: float


def runs_on(session: Session, worker: str) -> list[Run]:
    """The newest finished trainings on `worker` ("": on any), newest first."""
    query = (
        sa.select(col(Job.id), col(Job.config))
        .where(col(Job.kind) == JobKind.TRAIN, col(Job.state) == JobState.SUCCEEDED, col(Job.deleted_at).is_(None))
        .order_by(col(Job.id).desc())
        .limit(_LOOKED_AT)
    )
    if worker:
        query = query.where(col(Job.worker) == worker)
    configs = {job_id: config for job_id, config in session.execute(query)}
    means = (
        sa.select(col(Metric.job_id), sa.func.avg(col(Metric.value)))
        .where(
            col(Metric.job_id).in_(configs), col(Metric.name) == "tokens_per_second", col(Metric.step) >= LEAST_STEPS
        )
        .group_by(col(Metric.job_id))
    )
    speeds = {job_id: float(mean) for job_id, mean in session.execute(means)} if configs else {}
    return [Run(config, speeds[job_id]) for job_id, config in configs.items() if speeds.get(job_id, 0) > 0]
