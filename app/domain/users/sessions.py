"""Where people are signed in. A cookie holds 256 random bits; the row holds their SHA-256."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.core.db import utcnow
from app.domain.errors import NotFoundError
from app.domain.users.access import Actor, Role
from app.domain.users.models import SignedIn, User

#: A row is written at most so often, not at every request.
_STAMP_EVERY = timedelta(minutes=1)


def digest(value: str) -> str:
    """As it is stored. The value is random and long: no salt and no slow hash is needed."""
    return hashlib.sha256(value.encode()).hexdigest()


def start(session: Session, user: User, *, days: int, address: str, browser: str) -> str:
    """Sign in; returns the cookie's value, which is known to the browser alone."""
    value = secrets.token_urlsafe(32)
    session.execute(sa.delete(SignedIn).where(col(SignedIn.expires_at) < utcnow()))
    session.add(
        SignedIn(
            digest=digest(value),
            user_id=user.id or 0,
            expires_at=utcnow() + timedelta(days=days),
            address=address[:64],
            browser=browser[:200],
        )
    )
    session.flush()
    return value


def find(session: Session, value: str, *, idle_days: int) -> tuple[SignedIn, Actor] | None:
    """Who is signed in by this cookie; None when it is unknown, too old, or the account is closed."""
    query = select(SignedIn, User).join(User, col(User.id) == col(SignedIn.user_id))
    row = session.exec(query.where(SignedIn.digest == digest(value))).first()
    if row is None:
        return None
    signed_in, user = row
    now = utcnow()
    if user.disabled_at or signed_in.expires_at < now or signed_in.last_used < now - timedelta(days=idle_days):
        return None
    return signed_in, Actor(user.id, user.name, Role(user.role), session_id=signed_in.id)


def is_stale(signed_in: SignedIn) -> bool:
    """Whether it is time to write that it was used."""
    return utcnow() - signed_in.last_used > _STAMP_EVERY


def stamp(session: Session, session_id: int) -> None:
    """It was used just now."""
    session.execute(sa.update(SignedIn).where(col(SignedIn.id) == session_id).values(last_used=utcnow()))


def end(session: Session, value: str) -> None:
    """Sign out this browser."""
    session.execute(sa.delete(SignedIn).where(col(SignedIn.digest) == digest(value)))


def of_user(session: Session, user_id: int) -> list[SignedIn]:
    """Where somebody is signed in, the latest first."""
    query = select(SignedIn).where(SignedIn.user_id == user_id, col(SignedIn.expires_at) > utcnow())
    return list(session.exec(query.order_by(col(SignedIn.last_used).desc())))


def revoke(session: Session, user_id: int, session_id: int) -> None:
    """Sign out one browser of this person. Raises `NotFoundError`."""
    row = session.get(SignedIn, session_id)
    if row is None or row.user_id != user_id:
        raise NotFoundError("This browser is signed out already.")
    session.delete(row)
    session.flush()


def revoke_others(session: Session, user_id: int, but: int | None) -> None:
    """Sign out every browser of this person but one."""
    others = sa.delete(SignedIn).where(col(SignedIn.user_id) == user_id, col(SignedIn.id) != (but or 0))
    session.execute(others)
