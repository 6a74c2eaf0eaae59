"""Links that are good once: for the first administrator, and for whoever is to set a password."""

from __future__ import annotations

import secrets
from datetime import timedelta

import sqlalchemy as sa
from sqlmodel import Session, col

from app.core.db import utcnow
from app.domain.errors import ConflictError, NotFoundError
from app.domain.users import service
from app.domain.users.access import Role
from app.domain.users.models import OneTimeLink, User
from app.domain.users.sessions import digest

_GOOD_FOR = timedelta(hours=24)
_GONE = "This link was used already, or is older than a day. Ask for another."


def make(session: Session, user: User | None) -> str:
    """The secret part of a new link; None: it makes the first administrator. Older ones of a person count no more."""
    if user is not None:
        session.execute(sa.delete(OneTimeLink).where(col(OneTimeLink.user_id) == user.id))
    session.execute(sa.delete(OneTimeLink).where(col(OneTimeLink.expires_at) < utcnow()))
    value = secrets.token_urlsafe(32)
    expires = utcnow() + _GOOD_FOR
    session.add(OneTimeLink(digest=digest(value), user_id=user.id if user else None, expires_at=expires))
    session.flush()
    return value


def first_link(session: Session) -> str:
    """A link that makes the first administrator; empty when there is one."""
    return "" if service.has_administrator(session) else make(session, None)


def look_up(session: Session, value: str) -> OneTimeLink:
    """Raises `NotFoundError` when it is not good any more."""
    link = session.get(OneTimeLink, digest(value))
    if link is None or link.expires_at < utcnow():
        raise NotFoundError(_GONE)
    if link.user_id is None and service.has_administrator(session):
        raise NotFoundError(_GONE)
    return link


def name_of(session: Session, value: str) -> str:
    """Whose password is set by it; empty for the first administrator's. Raises `NotFoundError`."""
    link = look_up(session, value)
    return service.get(session, link.user_id).name if link.user_id else ""


def use(session: Session, value: str, name: str, password_hash: str) -> User:
    """Set the password; with the first link, make the administrator `name`. Raises `DomainError`."""
    link = look_up(session, value)
    gone = sa.delete(OneTimeLink).where(col(OneTimeLink.digest) == link.digest).returning(col(OneTimeLink.digest))
    if session.execute(gone).first() is None:  # used a moment ago, by another request
        raise NotFoundError(_GONE)
    user = service.get(session, link.user_id) if link.user_id else service.create(session, name, Role.ADMINISTRATOR)
    if user.disabled_at:
        raise ConflictError("This account is closed. Ask an administrator.")
    service.set_password(session, user, password_hash, tokens_too=True)
    if link.user_id is None:
        service.adopt(session, user)
        session.execute(sa.delete(OneTimeLink).where(col(OneTimeLink.user_id).is_(None)))
    return user
