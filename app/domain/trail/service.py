"""The audit log: written in the transaction of what it tells of, read by administrators."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col, select

from app.domain.trail.models import AuditEntry
from app.domain.users.access import Actor

REFUSED = "refused"


def record(
    session: Session,
    actor: Actor | None,
    action: str,
    *,
    subject: str = "",
    address: str = "",
    outcome: str = "done",
    who: str = "",
    **detail: Any,
) -> None:
    """One line. `who`: the name that was typed, where nobody is signed in."""
    session.add(
        AuditEntry(
            user_id=actor.user_id if actor else None,
            who=(actor.name if actor else who)[:100],
            via=actor.via if actor else "",
            address=address[:64],
            action=action,
            subject=subject[:200],
            outcome=outcome,
            detail=detail,
        )
    )
    session.flush()


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
