"""Claims, results and the list of messages. Claimed by conditional UPDATE: two workers never send the same one at once.

A sender that dies between sending and writing so leaves its claim to run out, and the message goes out again: at least
once, never silently lost. Callers commit.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.core.db import now_of, utcnow
from app.domain.deliveries.models import SETTLED, Delivery, DeliveryState
from app.domain.errors import ConflictError, NotFoundError

#: A claim runs out after this; longer than any exchange may last.
CLAIM_SECONDS = 180
#: Waits between the tries, in seconds: nine tries over about a day and a half.
WAITS = (5, 60, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 18 * 3600)
KEPT = timedelta(days=30)
_MOST_TRIES_KEPT = 50


def due(session: Session) -> int | None:
    """The message to send next, of those waiting or left by a sender that fell silent; only looks."""
    query = sa.select(col(Delivery.id)).where(_is_due(session)).order_by(col(Delivery.next_at), col(Delivery.id))
    found: int | None = session.execute(query.limit(1)).scalar_one_or_none()
    return found


def _is_due(session: Session) -> sa.ColumnElement[bool]:
    open_states = [DeliveryState.WAITING, DeliveryState.SENDING]
    return sa.and_(col(Delivery.state).in_(open_states), col(Delivery.next_at) <= now_of(session))


def claim(session: Session, delivery_id: int) -> Delivery | None:
    """Make the message this sender's; None when another was quicker."""
    statement = (
        sa.update(Delivery)
        .where(col(Delivery.id) == delivery_id, _is_due(session))
        .values(
            state=DeliveryState.SENDING,
            attempt=Delivery.attempt + 1,
            next_at=now_of(session) + timedelta(seconds=CLAIM_SECONDS),
        )
        .returning(col(Delivery.id))
        .execution_options(synchronize_session=False)
    )
    if session.execute(statement).first() is None:
        return None
    return session.get(Delivery, delivery_id, populate_existing=True)


def settle(session: Session, delivery: Delivery, tried: dict[str, Any], *, ok: bool, lasting: bool = False) -> bool:
    """Write what became of this try; False when the claim had run out and the message is someone else's.

    `lasting`: trying again is of no use.
    """
    tries = [*delivery.tries, tried][-_MOST_TRIES_KEPT:]
    made = sum(1 for each in tries if not each.get("before"))
    values: dict[str, Any] = {"tries": tries}
    if ok or lasting or made > len(WAITS):
        values |= {"state": DeliveryState.DELIVERED if ok else DeliveryState.FAILED, "settled_at": utcnow()}
    else:
        next_at = now_of(session) + timedelta(seconds=WAITS[made - 1])
        values |= {"state": DeliveryState.WAITING, "next_at": next_at}
    mine = (col(Delivery.id) == delivery.id, col(Delivery.attempt) == delivery.attempt)
    statement = sa.update(Delivery).where(*mine, col(Delivery.state) == DeliveryState.SENDING).values(**values)
    written = session.execute(statement.returning(col(Delivery.id)).execution_options(synchronize_session=False))
    return written.first() is not None


def again(session: Session, delivery_id: int) -> None:
    """Send a message that failed once more, from the first wait on. Raises `NotFoundError`, `ConflictError`."""
    row = session.get(Delivery, delivery_id)
    if row is None:
        raise NotFoundError(f"There is no message {delivery_id}. Old ones are removed after {KEPT.days} days.")
    # What was tried before no longer counts, but is still shown.
    marked = [{**each, "before": True} for each in row.tries]
    statement = (
        sa.update(Delivery)
        .where(col(Delivery.id) == delivery_id, col(Delivery.state) == DeliveryState.FAILED)
        .values(state=DeliveryState.WAITING, next_at=now_of(session), settled_at=None, tries=marked)
        .returning(col(Delivery.id))
    )
    if session.execute(statement.execution_options(synchronize_session=False)).first() is None:
        raise ConflictError("Only a message that failed can be sent again.")


def newest(session: Session, limit: int = 50) -> list[Delivery]:
    """The newest messages, newest first."""
    return list(session.exec(select(Delivery).order_by(col(Delivery.id).desc()).limit(limit)))


def count_by_state(session: Session) -> dict[tuple[str, str], int]:
    """How many messages of each channel are in each state."""
    group = (col(Delivery.channel), col(Delivery.state))
    query = sa.select(*group, sa.func.count()).group_by(*group)
    return {(channel, state): count for channel, state, count in session.execute(query)}


def forget_old(session: Session) -> None:
    """Remove what was settled long ago."""
    old = (col(Delivery.state).in_(list(SETTLED)), col(Delivery.settled_at) < now_of(session) - KEPT)
    session.execute(sa.delete(Delivery).where(*old))
