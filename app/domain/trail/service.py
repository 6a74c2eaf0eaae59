"""The audit log: written in the transaction of what it tells of, read by administrators."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from sqlmodel import Session, col, select

from app.core.db import utcnow
from app.domain.trail.models import AuditEntry
from app.domain.users.access import Actor
from app.domain.users.models import User

REFUSED = "refused"


def record(
    session: Session,
    actor: Actor | None,
    action: str,
    *,
    subject: str = "",
    address: str = "",
    outcome: str = "done",
    user: User | None = None,
    detail: Mapping[str, str] | None = None,
) -> None:
    """One line. `user`: the account that it is about, where nobody is signed in."""
    name, number = (actor.name, actor.user_id) if actor else (user.name, user.id) if user else ("", None)
    session.add(
        AuditEntry(
            user_id=number,
            who=name[:100],
            via=actor.via if actor else "",
            address=address[:64],
            action=action,
            subject=subject[:200],
            outcome=outcome,
            detail=dict(detail or {}),
        )
    )
    session.flush()


def record_refusal(session: Session, actor: Actor | None, action: str, *, subject: str, address: str) -> None:
    """One line, unless there is one of the same within the last minute: whoever asks on and on fills no disk."""
    same = (
        AuditEntry.user_id == (actor.user_id if actor else None),
        AuditEntry.action == action,
        AuditEntry.subject == subject[:200],
        AuditEntry.outcome == REFUSED,
        col(AuditEntry.at) > utcnow() - timedelta(minutes=1),
    )
    if session.exec(select(AuditEntry.id).where(*same).limit(1)).first() is None:
        record(session, actor, action, subject=subject, address=address, outcome=REFUSED)


def entries(
    session: Session, *, limit: int = 100, before: int | None = None, action: str = "", user_id: int | None = None
) -> list[AuditEntry]:
    """The newest first; `before`: with a smaller number; `action`: that word, or all of its kind (`job`)."""
    query = select(AuditEntry)
    if before is not None:
        query = query.where(col(AuditEntry.id) < before)
    if action:
        exact = col(AuditEntry.action) == action
        query = query.where(exact | col(AuditEntry.action).startswith(f"{action}.", autoescape=True))
    if user_id is not None:
        query = query.where(AuditEntry.user_id == user_id)
    return list(session.exec(query.order_by(col(AuditEntry.id).desc()).limit(limit)))
