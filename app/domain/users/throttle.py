"""Guessing made slow: after a few failures a name, and an address, must wait ever longer.

Kept in the database, so that every web process counts the same.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta

import sqlalchemy as sa
from sqlmodel import Session, col

from app.core.db import utcnow
from app.domain.errors import TooManyError
from app.domain.users.models import FailedSignIn

#: Failures that cost nothing: for one name, and for one address behind which many people may sit.
_FREE_NAME, _FREE_ADDRESS = 5, 20
_LONGEST = timedelta(minutes=15)
#: After so long without a failure all is forgotten.
_FORGOTTEN = timedelta(hours=1)


def _keys(name: str, address: str) -> list[tuple[str, int]]:
    digest = hashlib.sha256(name.casefold().encode()).hexdigest()[:32]
    return [(f"name {digest}", _FREE_NAME), (f"address {address[:64]}", _FREE_ADDRESS)]


def check(session: Session, name: str, address: str) -> None:
    """Raises `TooManyError` with the seconds to wait."""
    now = utcnow()
    rows = [session.get(FailedSignIn, key) for key, _ in _keys(name, address)]
    waits = [(row.wait_until - now).total_seconds() for row in rows if row and row.wait_until and row.wait_until > now]
    if waits:
        seconds = int(max(waits)) + 1
        raise TooManyError(f"Too many failed sign-ins. Wait {_words(seconds)}, then try again.", retry_after=seconds)


def _words(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{seconds // 60 + 1} minutes"


def failed(session: Session, name: str, address: str) -> None:
    """Count it."""
    now = utcnow()
    for key, free in _keys(name, address):
        row = session.get(FailedSignIn, key) or FailedSignIn(key=key)
        row.count = 1 if now - row.last_at > _FORGOTTEN else row.count + 1
        row.last_at = now
        over = row.count - free
        row.wait_until = now + min(timedelta(seconds=2.0 ** min(over, 12)), _LONGEST) if over >= 0 else None
        session.add(row)
    session.execute(sa.delete(FailedSignIn).where(col(FailedSignIn.last_at) < now - _FORGOTTEN))
    session.flush()


def succeeded(session: Session, name: str, address: str) -> None:
    """Forget the failures of this name; those of the address stay, for others sit behind it."""
    row = session.get(FailedSignIn, _keys(name, address)[0][0])
    if row is not None:
        session.delete(row)
        session.flush()
