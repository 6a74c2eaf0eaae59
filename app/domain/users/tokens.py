"""Tokens for scripts: shown once, kept as a digest, limited in what they may do and for how long."""

from __future__ import annotations

import hmac
import re
import secrets
from datetime import timedelta

import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.core.db import utcnow
from app.domain.errors import InvalidError, NotFoundError
from app.domain.users.access import Actor, Role, Scope
from app.domain.users.models import ApiToken, User
from app.domain.users.sessions import digest

#: Days a token may be good for; 0: until it is revoked.
LIFETIMES = (30, 90, 365, 0)
_TOKEN = re.compile(r"td_([a-z0-9]{10})_[A-Za-z0-9_-]{43}")
_STAMP_EVERY = timedelta(minutes=1)


def make(session: Session, user_id: int, name: str, scope: str, days: int) -> tuple[ApiToken, str]:
    """A new token and its text, which is never known again. Raises `InvalidError`."""
    wrong: dict[str, str] = {}
    if not 0 < len(name.strip()) <= 100:
        wrong["name"] = "Say what it is for, in at most 100 characters."
    if scope not in set(Scope):
        wrong["scope"] = "Choose what it may do."
    if days not in LIFETIMES:
        wrong["days"] = "Choose how long it is good for."
    if wrong:
        raise InvalidError("The token can't be made yet.", errors=wrong)
    prefix = secrets.token_hex(5)
    text = f"td_{prefix}_{secrets.token_urlsafe(32)}"
    row = ApiToken(user_id=user_id, name=name.strip(), prefix=prefix, digest=digest(text), scope=scope)
    row.expires_at = utcnow() + timedelta(days=days) if days else None
    session.add(row)
    session.flush()
    return row, text


def find(session: Session, text: str) -> tuple[ApiToken, Actor] | None:
    """Whose token this is; None when it is unknown, expired, or the account is closed."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        return None
    query = select(ApiToken, User).join(User, col(User.id) == col(ApiToken.user_id))
    row = session.exec(query.where(ApiToken.prefix == match[1])).first()
    if row is None:
        return None
    token, user = row
    if not hmac.compare_digest(token.digest, digest(text)):
        return None
    if user.disabled_at or (token.expires_at and token.expires_at < utcnow()):
        return None
    return token, Actor(user.id, user.name, Role(user.role), via="token", scope=Scope(token.scope))


def is_stale(token: ApiToken) -> bool:
    """Whether it is time to write that it was used."""
    return token.last_used is None or utcnow() - token.last_used > _STAMP_EVERY


def stamp(session: Session, token_id: int) -> None:
    """It was used just now."""
    session.execute(sa.update(ApiToken).where(col(ApiToken.id) == token_id).values(last_used=utcnow()))


def of_user(session: Session, user_id: int) -> list[ApiToken]:
    """Newest first."""
    return list(session.exec(select(ApiToken).where(ApiToken.user_id == user_id).order_by(col(ApiToken.id).desc())))


def revoke(session: Session, user_id: int, token_id: int) -> None:
    """Raises `NotFoundError`."""
    row = session.get(ApiToken, token_id)
    if row is None or row.user_id != user_id:
        raise NotFoundError("This token is revoked already.")
    session.delete(row)
    session.flush()


def revoke_all(session: Session, user_id: int) -> None:
    """Every token of somebody."""
    session.execute(sa.delete(ApiToken).where(col(ApiToken.user_id) == user_id))
