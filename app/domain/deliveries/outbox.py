"""Writes messages as rows, in the transaction of what they tell: no end without its message, nor the other way."""

from __future__ import annotations

import secrets
from typing import Any

from sqlmodel import Session, select

from app.core.db import utcnow
from app.domain.deliveries.models import Channel, Delivery, NotifyChannel
from app.domain.jobs.models import Job
from app.domain.jobs.states import JobKind, JobState

#: What people wait for. Intakes and audits end within seconds, on the page in front of them.
_TOLD = frozenset({JobKind.TRAIN, JobKind.EVALUATE, JobKind.EXPORT, JobKind.PUSH})
_NAMES = {"train": "training", "evaluate": "evaluation", "export": "export", "push": "push to the Hub"}
_ENDS = {"succeeded": "has succeeded", "failed": "has failed", "cancelled": "was cancelled"}


def job_ended(session: Session, job: Job) -> None:
    """`job` has just reached a final state: one message for each channel that wants to hear of it."""
    if job.kind not in _TOLD:
        return
    for row in session.exec(select(NotifyChannel)).all():
        if job.state in row.config.get("ends", []):
            _put(session, Channel(row.channel), f"job.{job.state}", _about(job), job.id)


def test_message(session: Session, channel: Channel) -> Delivery:
    """A message that says only that messages arrive."""
    payload = {"type": "test", "text": "Messages from Tunedeck arrive here.", "data": {}}
    return _put(session, channel, "test", payload, None)


def _put(session: Session, channel: Channel, event: str, payload: dict[str, Any], job_id: int | None) -> Delivery:
    stamped = {**payload, "timestamp": utcnow().isoformat(timespec="seconds")}
    message_id = f"msg_{secrets.token_hex(12)}"
    row = Delivery(channel=channel, message_id=message_id, event=event, payload=stamped, job_id=job_id)
    session.add(row)
    session.flush()
    return row


def _about(job: Job) -> dict[str, Any]:
    text = f"The {_NAMES[job.kind]} “{job.name}” {_ENDS[job.state]}."
    error = {key: str(job.error.get(key, ""))[:2000] for key in ("class", "message", "advice")}
    facts = {
        "id": job.id,
        "kind": job.kind,
        "name": job.name,
        "state": job.state,
        "step": job.step,
        "total_steps": job.total_steps,
        "error": error if job.state == JobState.FAILED else None,
        **{name: _iso(getattr(job, name)) for name in ("created_at", "started_at", "finished_at")},
    }
    # An export belongs to its training: that is the page that shows it.
    page = job.id if job.kind == JobKind.TRAIN else job.subject_id
    return {"type": f"job.{job.state}", "text": text, "data": {"job": facts, "path": f"/jobs/{page}"}}


def _iso(moment: Any) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None
