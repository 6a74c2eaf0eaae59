"""The only writer of a job's state, apart from the fence. Callers commit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.core.db import now_of, utcnow
from app.core.live import Bells
from app.domain.deliveries import outbox
from app.domain.errors import ConflictError, NotAllowedError, NotFoundError
from app.domain.jobs.demands import can_serve, demand_of, offer_of
from app.domain.jobs.models import Checkpoint, Job, JobAttempt, JobEvent, QueueHold
from app.domain.jobs.owners import belongs, check_count
from app.domain.jobs.states import FINAL, QUEUE_OF, STRIDE, JobKind, JobState, may_move
from app.domain.users.scoping import EVERYBODY, actor_of, everybody
from app.domain.workers import service as workers

#: Before the next try after a loss.
LONGEST_WAIT = timedelta(minutes=10)


def enqueue(
    session: Session,
    bells: Bells,
    *,
    kind: JobKind,
    subject_id: int,
    name: str,
    config: dict[str, Any],
    parent_id: int | None = None,
    priority: int = 0,
) -> Job:
    """A new job, queued behind those of its priority; the workers are called once this is committed.

    Raises `TooManyError` when the person has as many live jobs as one may have.
    """
    check_count(session)
    queue = QUEUE_OF[kind]
    job = Job(kind=kind, subject_id=subject_id, name=name, config=config, queue=queue, parent_id=parent_id)
    job.priority = priority
    job.owner_id, job.shared = belongs(session, kind, subject_id)
    actor = actor_of(session)
    job.started_by = actor.user_id if actor else None
    for asked, value in asdict(demand_of(kind, config)).items():
        setattr(job, asked, value)
    session.add(job)
    session.flush()
    assert job.id is not None
    job.position = max(job.id * STRIDE, _last_place(session, queue) + STRIDE)
    job.event_seq = 1
    session.add(JobEvent(job_id=job.id, seq=1, attempt=0, kind="state", payload={"state": JobState.QUEUED}))
    session.flush()
    bells.work(session, job.queue)
    bells.changed(session, job.id)
    return job


def _last_place(session: Session, queue: str) -> int:
    waits = (col(Job.queue) == queue, col(Job.state) == JobState.QUEUED)
    furthest = everybody(sa.select(sa.func.max(col(Job.position))).where(*waits))
    place: int | None = session.execute(furthest).scalar_one()
    return place or 0


def move(
    session: Session,
    job_id: int,
    olds: Collection[JobState],
    new: JobState,
    *,
    where: Sequence[sa.ColumnElement[bool]] = (),
    note: dict[str, Any] | None = None,
    whose: Callable[[sa.Update], sa.Update] = lambda statement: statement,
    **values: Any,
) -> bool:
    """Change the state by one conditional UPDATE and log it; False when the job was in none of `olds`.

    `whose`: `everybody`, where the change is not the person's whom the session acts for.
    """
    for old in olds:
        assert may_move(old, new), (old, new)
    if new in FINAL:
        values.setdefault("finished_at", utcnow())
    statement = (
        sa.update(Job)
        .where(col(Job.id) == job_id, col(Job.state).in_(list(olds)), *where)
        .values(state=new, event_seq=Job.event_seq + 1, **values)
    )
    statement = statement.execution_options(synchronize_session=False)
    told = (col(Job.event_seq), col(Job.attempt), col(Job.step))
    row = session.execute(whose(statement).returning(*told)).first()
    if row is None:
        return False
    payload = {"state": new, **(note or {})}
    session.add(JobEvent(job_id=job_id, seq=row[0], attempt=row[1], step=row[2], kind="state", payload=payload))
    session.flush()
    job = session.get(Job, job_id, populate_existing=True, execution_options=EVERYBODY)
    if new in FINAL and job is not None:
        outbox.job_ended(session, job)
    return True


def claim(session: Session, queue: str, worker: str) -> Job | None:
    """Take the first waiting job of `queue` that this worker can serve; None for one that is drained.

    The caller's commit makes it this worker's.
    """
    waiting = first_waiting(session, queue, worker)
    if waiting is None:
        return None
    waiting = waiting.with_for_update(skip_locked=True)
    job_id = session.execute(waiting).scalar_one_or_none()
    if job_id is None:
        return None
    taken: dict[str, Any] = {
        "attempt": Job.attempt + 1,
        "beat": Job.beat + 1,
        "worker": worker,
        "tail_offset": 0,
        "phase": "",
        "phase_done": None,
        "phase_total": None,
        "started_at": sa.func.coalesce(Job.started_at, utcnow()),
    }
    if not move(session, job_id, [JobState.QUEUED], JobState.RUNNING, note={"worker": worker}, **taken):
        return None
    job = session.get_one(Job, job_id)
    last = newest_checkpoint(session, job_id)
    session.add(JobAttempt(job_id=job_id, attempt=job.attempt, worker=worker, from_step=last.step if last else 0))
    session.flush()
    return job


def first_waiting(session: Session, queue: str, worker: str) -> sa.Select[Any] | None:
    """Selects the number of the job that `worker` is to start next; None for one that is drained."""
    known = workers.find(session, worker, queue)
    if known is not None and known.draining:
        return None
    return (
        sa.select(col(Job.id))
        .where(
            col(Job.queue) == queue,
            col(Job.state) == JobState.QUEUED,
            col(Job.deleted_at).is_(None),
            _ready(session),
            ~sa.exists().where(col(QueueHold.queue) == queue),
            *can_serve(offer_of(known, workers.living(session))),
        )
        .order_by(col(Job.priority).desc(), col(Job.position), col(Job.id))
        .limit(1)
    )


def newest_checkpoint(session: Session, job_id: int) -> Checkpoint | None:
    """The checkpoint to go on from: the furthest step, and of that the newest attempt."""
    query = select(Checkpoint).where(Checkpoint.job_id == job_id)
    return session.exec(query.order_by(col(Checkpoint.step).desc(), col(Checkpoint.attempt).desc())).first()


def waiting_queues(session: Session) -> list[str]:
    """Queues with a job that could start now."""
    query = select(Job.queue).where(Job.state == JobState.QUEUED, col(Job.deleted_at).is_(None), _ready(session))
    return list(session.exec(query.distinct()))


def _ready(session: Session) -> sa.ColumnElement[bool]:
    """Waits for nothing. Who must wait longer than anyone ever has to was told so by a clock that ran ahead."""
    now, until = now_of(session), col(Job.not_before)
    return sa.or_(until.is_(None), until <= now, until > now + LONGEST_WAIT)


def get_job(session: Session, job_id: int) -> Job:
    """The job. Raises `NotFoundError` when there is none, or it was deleted."""
    job, actor = session.get(Job, job_id), actor_of(session)
    # Asked here too: a row that was read for everybody's sake stays in the session.
    seen = job is not None and (actor is None or actor.sees(job.owner_id, shared=job.shared))
    if job is None or not seen or job.deleted_at is not None:
        raise NotFoundError(f"There is no job {job_id}. It may have been deleted.")
    return job


def list_jobs(
    session: Session,
    *,
    kinds: Collection[JobKind] = (JobKind.TRAIN,),
    states: Collection[JobState] | None = None,
    subject_id: int | None = None,
    limit: int = 50,
    offset: int = 0,
) -> list[Job]:
    """Jobs, newest first; waiting and running ones are not treated apart."""
    query = select(Job).where(col(Job.kind).in_(list(kinds)), col(Job.deleted_at).is_(None))
    if states is not None:
        query = query.where(col(Job.state).in_(list(states)))
    if subject_id is not None:
        query = query.where(Job.subject_id == subject_id)
    return list(session.exec(query.order_by(col(Job.id).desc()).limit(limit).offset(offset)))


def count_by_state(session: Session, kinds: Collection[JobKind] = (JobKind.TRAIN,)) -> dict[str, int]:
    """How many jobs of `kinds` are in each state."""
    query = (
        sa.select(col(Job.state), sa.func.count())
        .where(col(Job.kind).in_(list(kinds)), col(Job.deleted_at).is_(None))
        .group_by(col(Job.state))
    )
    return {key: value for key, value in session.execute(query)}


def last_seq(session: Session, job_id: int) -> int:
    """The number of the newest event."""
    return session.execute(sa.select(col(Job.event_seq)).where(col(Job.id) == job_id)).scalar_one_or_none() or 0


def events_after(session: Session, job_id: int, after: int, limit: int = 500) -> list[JobEvent]:
    """Events with `seq` > `after`, in order."""
    query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.seq > after)
    return list(session.exec(query.order_by(col(JobEvent.seq)).limit(limit)))


def last_of_kind(session: Session, job_id: int, kind: str) -> JobEvent | None:
    """The newest event of `kind`."""
    query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.kind == kind)
    return session.exec(query.order_by(col(JobEvent.seq).desc()).limit(1)).first()


def cancel(session: Session, bells: Bells, job_id: int) -> None:
    """Stop a job for good: at once while it waits, at its next safe point while it runs."""
    get_job(session, job_id)
    done = move(session, job_id, [JobState.QUEUED, JobState.PAUSED], JobState.CANCELLED) or move(
        session, job_id, [JobState.RUNNING, JobState.PAUSING], JobState.CANCELLING
    )
    if not done and get_job(session, job_id).state != JobState.CANCELLING:
        raise ConflictError("This job has ended already; there is nothing to cancel.")
    bells.changed(session, job_id)


def pause(session: Session, bells: Bells, job_id: int) -> None:
    """Ask a running training to save a checkpoint and leave."""
    job = get_job(session, job_id)
    if job.kind != JobKind.TRAIN or not move(session, job_id, [JobState.RUNNING], JobState.PAUSING):
        raise ConflictError("Only a running training can be paused.")
    bells.changed(session, job_id)


def resume(session: Session, bells: Bells, job_id: int) -> None:
    """Put a paused job back into the queue; it goes on from its last checkpoint."""
    job = get_job(session, job_id)
    if not move(session, job_id, [JobState.PAUSED], JobState.QUEUED, not_before=None):
        raise ConflictError("Only a paused job can be resumed.")
    bells.work(session, job.queue)
    bells.changed(session, job_id)


def retry(session: Session, bells: Bells, job_id: int) -> Job:
    """A new job with the same settings, by its owner; `launch.repeat` is for people. The old one stays as it is."""
    old = get_job(session, job_id)
    if old.job_state not in FINAL:
        raise ConflictError("This job has not ended yet. Cancel it first, or wait.")
    actor = actor_of(session)
    if actor is not None and not actor.owns(old.owner_id):
        raise NotAllowedError("This belongs to somebody else. They, or an administrator, may repeat it.")
    return enqueue(
        session,
        bells,
        kind=JobKind(old.kind),
        subject_id=old.subject_id,
        name=old.name,
        config=old.config,
        parent_id=old.id,
    )


def delete(session: Session, bells: Bells, job_id: int) -> None:
    """Cancel the job if it lives and hide it, with the exports made of it; the files go once all have ended."""
    job = get_job(session, job_id)
    if job.job_state not in FINAL:
        cancel(session, bells, job_id)
    if job.kind == JobKind.TRAIN:
        for made in list_jobs(session, kinds=(JobKind.EXPORT, JobKind.PUSH), subject_id=job_id, limit=1000):
            delete(session, bells, made.id or 0)
    job.deleted_at = utcnow()
    session.flush()
    bells.changed(session, job_id)
