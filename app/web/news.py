"""What the hub asks the database: new events of watched jobs, encoded once for all their watchers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.domain.jobs import service
from app.domain.jobs.models import Job, JobEvent
from app.domain.jobs.states import FINAL, LIVE, JobKind

#: Jobs about a training that the training's own page follows too.
FOLLOWERS = (JobKind.EXPORT, JobKind.PUSH, JobKind.EVALUATE)
BATCH = 500


@dataclass(frozen=True)
class Message:
    """One server-sent event. `seq` 0: a hint, without an id. `ends`: nothing comes after it."""

    seq: int
    data: bytes
    ends: bool = False


END = Message(0, b"event: end\ndata: {}\n\n", ends=True)
CHANGED = Message(0, b"event: changed\ndata: {}\n\n")


def encode(kind: str, payload: dict[str, Any], seq: int = 0) -> Message:
    """A named server-sent event with JSON data."""
    head = f"id: {seq}\n" if seq else ""
    return Message(seq, f"{head}event: {kind}\ndata: {json.dumps(payload, default=str)}\n\n".encode())


def encode_event(event: JobEvent) -> Message:
    """A stored event as its watchers get it."""
    frame = {"step": event.step, "attempt": event.attempt, "at": event.at.isoformat(), "seq": event.seq}
    return encode(event.kind, {**frame, **event.payload}, event.seq)


def snapshot(session: Session) -> dict[int, int]:
    """Every live job and the number of its newest event: one query."""
    rows = session.execute(sa.select(col(Job.id), col(Job.event_seq)).where(col(Job.state).in_(list(LIVE))))
    return {job_id: seq for job_id, seq in rows}


def backlog(session: Session, job_id: int, after: int) -> list[Message]:
    """The next events after `after`, at most `BATCH`."""
    return [encode_event(event) for event in service.events_after(session, job_id, after, BATCH)]


def is_over(session: Session, job_id: int) -> bool:
    """Whether nothing more will happen to the job or to jobs about it."""
    job = session.get(Job, job_id)
    return job is None or (job.job_state in FINAL and not _followed(session, {job_id}))


def look_at(session: Session, dirty: set[int], last: dict[int, int]) -> dict[int, list[Message]]:
    """Messages for the watched jobs (`last`: id -> newest number handed out) that the changed jobs give rise to."""
    jobs = list(session.exec(select(Job).where(col(Job.id).in_(dirty))))
    touched = {job.subject_id for job in jobs if job.kind in FOLLOWERS} | dirty
    # Before the events are read: what is over now can't be followed by an event that is not among them.
    over = [job_id for job_id in touched & last.keys() if is_over(session, job_id)]
    out = {job_id: _all_after(session, job_id, last[job_id]) for job_id in dirty & last.keys()}
    for job in jobs:
        if job.kind in FOLLOWERS and job.subject_id in last:
            out.setdefault(job.subject_id, []).append(encode("related", {"job": job.id, "state": job.state}))
    for job_id in over:
        out.setdefault(job_id, []).append(END)
    return out


def _all_after(session: Session, job_id: int, after: int) -> list[Message]:
    out: list[Message] = []
    while batch := backlog(session, job_id, out[-1].seq if out else after):
        out += batch
        if len(batch) < BATCH:
            break
    return out


def _followed(session: Session, job_ids: set[int]) -> bool:
    query = sa.select(sa.func.count()).where(
        col(Job.kind).in_(list(FOLLOWERS)), col(Job.subject_id).in_(job_ids), col(Job.state).in_(list(LIVE))
    )
    return bool(session.execute(query).scalar_one())
