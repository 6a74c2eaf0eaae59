"""The curves of a job: attempts stitched, thinned so that no spike is lost."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable

import sqlalchemy as sa
from sqlmodel import Session, col

from app.domain.jobs.models import JobAttempt, Metric

Series = tuple[list[int], list[float]]
#: Read so many at a time: a long job has a million.
_ROWS = 5000
#: Beyond any training.
_LAST = 2**31 - 1


def series(
    session: Session,
    job_id: int,
    names: Collection[str] | None = None,
    max_points: int = 2000,
    span: tuple[int, int] | None = None,
) -> dict[str, Series]:
    """name -> (steps, values), rising steps. Each attempt is shown up to the step where the next one started.

    `span`: only the steps from its first to its second, both included.
    """
    found = _points(session, job_id, names, span)
    return {name: thin(list(steps), list(values), max_points) for name, (steps, values) in found.items()}


def exact(session: Session, job_id: int) -> dict[str, tuple[array[int], array[float]]]:
    """The same, with every point; compact, for there may be millions."""
    return _points(session, job_id, None, None)


def _points(
    session: Session, job_id: int, names: Collection[str] | None, span: tuple[int, int] | None
) -> dict[str, tuple[array[int], array[float]]]:
    query = (
        sa.select(col(Metric.name), col(Metric.attempt), col(Metric.step), col(Metric.value))
        .where(col(Metric.job_id) == job_id)
        .order_by(col(Metric.attempt), col(Metric.name), col(Metric.step))  # as the primary key has them
    )
    if names is not None:
        query = query.where(col(Metric.name).in_(list(names)))
    if span is not None:
        query = query.where(col(Metric.step).between(*span))
    spans = _spans(session, job_id)
    out: dict[str, tuple[array[int], array[float]]] = defaultdict(lambda: (array("q"), array("d")))
    for part in session.connection().execute(query, execution_options={"yield_per": _ROWS}).partitions():
        for name, attempt, step, value in part:
            begin, end = spans.get(attempt, (0, step))
            if begin <= step <= end:
                out[name][0].append(step)
                out[name][1].append(value)
    return dict(out)


def _spans(session: Session, job_id: int) -> dict[int, tuple[int, int]]:
    """attempt -> first and last step of it that are shown: up to the least step any later attempt started from."""
    rows = session.execute(
        sa.select(col(JobAttempt.attempt), col(JobAttempt.from_step))
        .where(col(JobAttempt.job_id) == job_id)
        .order_by(col(JobAttempt.attempt).desc())
    )
    spans: dict[int, tuple[int, int]] = {}
    least = _LAST
    for attempt, from_step in rows:
        # A sample at the very step that it went on from is the earlier attempt's to tell.
        spans[attempt] = (from_step + 1 if from_step else 0, least)
        least = min(least, from_step)
    return spans


def thin(steps: list[int], values: list[float], max_points: int) -> Series:
    """At most about `max_points` points: of each bucket of steps the smallest and the largest value are kept."""
    count = len(steps)
    if count <= max_points:
        return steps, values
    buckets = max(1, max_points // 2)
    keep = {0, count - 1}
    for number in range(buckets):
        span = range(number * count // buckets, (number + 1) * count // buckets)
        if span:
            keep.add(min(span, key=values.__getitem__))
            keep.add(max(span, key=values.__getitem__))
    chosen = sorted(keep)
    return [steps[i] for i in chosen], [values[i] for i in chosen]


def latest(session: Session, job_id: int) -> dict[str, float]:
    """name -> value at the furthest step of the newest attempt that reported it."""
    mine = col(Metric.job_id) == job_id
    newest = sa.select(col(Metric.name), sa.func.max(col(Metric.attempt)).label("attempt")).where(mine)
    attempt = newest.group_by(col(Metric.name)).subquery()
    furthest = (
        sa.select(col(Metric.name), col(Metric.attempt), sa.func.max(col(Metric.step)).label("step"))
        .join(attempt, sa.and_(col(Metric.name) == attempt.c.name, col(Metric.attempt) == attempt.c.attempt))
        .where(mine)
        .group_by(col(Metric.name), col(Metric.attempt))
        .subquery()
    )
    return _values_at(session, job_id, furthest)


def _values_at(session: Session, job_id: int, places: sa.Subquery) -> dict[str, float]:
    """name -> value, of those that `places` has columns of."""
    same = [getattr(Metric, column.name) == column for column in places.columns]
    query = sa.select(col(Metric.name), col(Metric.value)).join(places, sa.and_(*same))
    return {name: value for name, value in session.execute(query.where(col(Metric.job_id) == job_id))}


def sparklines(session: Session, job_ids: Iterable[int], points: int = 40) -> dict[int, list[float]]:
    """job -> its thinned loss, for lists; one query for all."""
    query = (
        sa.select(col(Metric.job_id), col(Metric.step), col(Metric.value))
        .where(col(Metric.job_id).in_(list(job_ids)), col(Metric.name) == "loss")
        .order_by(col(Metric.job_id), col(Metric.attempt), col(Metric.step))
    )
    found: dict[int, dict[int, float]] = defaultdict(dict)
    for job_id, step, value in session.execute(query):
        found[job_id][step] = value
    return {job: thin(sorted(line), [line[s] for s in sorted(line)], points)[1] for job, line in found.items()}


def first(session: Session, job_id: int) -> dict[str, float]:
    """name -> value at the least step that reported it."""
    least = (
        sa.select(col(Metric.name), sa.func.min(col(Metric.step)).label("step"))
        .where(col(Metric.job_id) == job_id)
        .group_by(col(Metric.name))
        .subquery()
    )
    query = sa.select(col(Metric.name), col(Metric.value)).where(
        col(Metric.job_id) == job_id, col(Metric.name) == least.c.name, col(Metric.step) == least.c.step
    )
    return {key: value for key, value in session.execute(query)}
