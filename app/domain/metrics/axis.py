"""What stands along the axis of a job's curves: where it saved, went on after a loss, and when it was at which step."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlmodel import Session, col

from app.domain.jobs.models import Checkpoint, JobAttempt, JobEvent

#: Steps whose time is told, at most; between two of them time runs evenly.
_TIMED = 500


@dataclass(frozen=True)
class Axis:
    """`seconds[i]`: since `begun`, when the first step was reported, at `steps[i]`. `epoch_per_step` 0: not known."""

    checkpoints: list[int]
    restarts: list[int]
    steps: list[int]
    seconds: list[float]
    begun: str
    epoch_per_step: float


def axis(session: Session, job_id: int) -> Axis:
    """Of one job, as it stands."""
    saved = sa.select(col(Checkpoint.step)).where(col(Checkpoint.job_id) == job_id).distinct()
    again = sa.select(col(JobAttempt.from_step)).where(col(JobAttempt.job_id) == job_id, col(JobAttempt.attempt) > 1)
    begun, steps, seconds = _times(session, job_id)
    return Axis(
        checkpoints=sorted(session.scalars(saved)),
        restarts=sorted({step for step in session.scalars(again) if step}),
        steps=steps,
        seconds=seconds,
        begun=begun,
        epoch_per_step=_epoch_per_step(session, job_id),
    )


def _reported(job_id: int) -> tuple[sa.ColumnElement[bool], ...]:
    return col(JobEvent.job_id) == job_id, col(JobEvent.kind) == "metric", col(JobEvent.step).is_not(None)


def _times(session: Session, job_id: int) -> tuple[str, list[int], list[float]]:
    """Of evenly chosen steps. One that was done twice counts when it was done last."""
    last = session.scalar(sa.select(sa.func.max(col(JobEvent.step))).where(*_reported(job_id)))
    if not last:
        return "", [], []
    every = max(1, last // _TIMED)
    chosen = sa.or_(col(JobEvent.step) % every == 0, col(JobEvent.step).in_((1, last)))
    query = (
        sa.select(col(JobEvent.step), sa.func.max(col(JobEvent.at)))
        .where(*_reported(job_id), chosen)
        .group_by(col(JobEvent.step))
        .order_by(col(JobEvent.step))
    )
    return _rising([(step, _moment(at)) for step, at in session.execute(query)])


def _moment(at: datetime | str) -> datetime:
    """SQLite gives the greatest of several times as text."""
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _rising(found: list[tuple[int, datetime]]) -> tuple[str, list[int], list[float]]:
    """Clocks may be set back: a step that seems to be before its forerunner is left out."""
    begun = found[0][1]
    steps: list[int] = []
    seconds: list[float] = []
    for step, at in found:
        passed = (at - begun).total_seconds()
        if not seconds or passed > seconds[-1]:
            steps.append(step)
            seconds.append(round(passed, 2))
    return begun.isoformat(), steps, seconds


def _epoch_per_step(session: Session, job_id: int) -> float:
    query = sa.select(col(JobEvent.step), col(JobEvent.payload)).where(*_reported(job_id))
    row = session.execute(query.order_by(col(JobEvent.seq).desc()).limit(1)).first()
    epoch = row[1].get("epoch") if row else None
    return float(epoch) / row[0] if row and isinstance(epoch, int | float) and row[0] else 0.0
