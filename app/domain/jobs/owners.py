"""Whose a job is, who sees it, and how many one person may have. Callers commit."""

from __future__ import annotations

import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.core.live import Bells
from app.domain.datasets.models import Dataset
from app.domain.errors import TooManyError
from app.domain.jobs.models import Job
from app.domain.jobs.states import ABOUT_DATASETS, LEASED, LIVE, JobKind, JobState
from app.domain.users.scoping import actor_of, everybody, most_jobs_of


def check_count(session: Session, more: int = 1) -> None:
    """Raises `TooManyError` when with `more` of them the person would have more live jobs than one may."""
    actor, most = actor_of(session), most_jobs_of(session)
    if actor is None or actor.user_id is None or not most:
        return
    mine = (col(Job.started_by) == actor.user_id, col(Job.state).in_(list(LIVE)), col(Job.deleted_at).is_(None))
    live: int = session.execute(everybody(sa.select(sa.func.count(col(Job.id))).where(*mine))).scalar_one()
    if live + more <= most:
        return
    if more == 1:
        raise TooManyError(f"{most} of your jobs wait or run already. Let some end, or cancel some, first.")
    raise TooManyError(
        f"These are {more} trainings, and {live} of your jobs wait or run already; {most} may at a time. "
        "None was started. Take some values out, or let some jobs end first."
    )


def belongs(session: Session, kind: JobKind, subject_id: int) -> tuple[int | None, bool]:
    """Whose a new job is, and whether it is shared: a light one is as what it is about, a training its starter's."""
    actor = actor_of(session)
    if kind == JobKind.TRAIN and actor is not None:
        return actor.user_id, False
    about = session.get(Dataset, subject_id) if kind in ABOUT_DATASETS else session.get(Job, subject_id)
    return (about.owner_id, about.shared and kind != JobKind.TRAIN) if about else (None, False)


def share(session: Session, job_id: int, *, shared: bool) -> None:
    """Let everybody see a training and what was made of it, or nobody but its owner."""
    made_of_it = col(Job.kind).in_([JobKind.EXPORT, JobKind.PUSH]) & (col(Job.subject_id) == job_id)
    session.execute(sa.update(Job).where((col(Job.id) == job_id) | made_of_it).values(shared=shared))
    session.expire_all()


def held_by_workers(session: Session) -> list[Job]:
    """Every job that a worker has, whoever's it is."""
    query = select(Job).where(col(Job.state).in_(list(LEASED)), col(Job.deleted_at).is_(None))
    return list(session.exec(everybody(query.limit(500))))


def uses(dataset_id: int) -> sa.ColumnElement[bool]:
    """Trainings that read a data set, to learn from or to look at their loss."""
    held_out = sa.cast(col(Job.config)["validation_dataset"].as_string(), sa.String) == str(dataset_id)
    return sa.and_(col(Job.kind) == JobKind.TRAIN, sa.or_(col(Job.subject_id) == dataset_id, held_out))


def cancel_borrowed(session: Session, bells: Bells, dataset_id: int, owner_id: int | None) -> None:
    """Others' live trainings on a data set that is taken back: each is cancelled, and its log says why."""
    live = (uses(dataset_id), col(Job.state).in_(list(LIVE)))
    theirs = col(Job.owner_id).is_distinct_from(owner_id)
    for number in session.execute(everybody(sa.select(col(Job.id)).where(*live, theirs))).scalars().all():
        from app.domain.jobs import service  # it asks here whose a new job is

        note = {"reason": "Its data set is not shared any more."}
        waits, runs = [JobState.QUEUED, JobState.PAUSED], [JobState.RUNNING, JobState.PAUSING]
        if not service.move(session, number, waits, JobState.CANCELLED, note=note, whose=everybody):
            service.move(session, number, runs, JobState.CANCELLING, note=note, whose=everybody)
        bells.changed(session, number)
