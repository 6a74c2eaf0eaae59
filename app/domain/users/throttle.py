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


def attempt(session: Session, name: str, address: str) -> None:
    """Count an attempt as failed until it has `succeeded`, so that many at once are no more than many in turn.

    Raises `TooManyError` with the seconds to wait.
    """
    now, rows = utcnow(), {}
    for key, free in _keys(name, address):
        rows[key] = session.get(FailedSignIn, key, with_for_update=True) or FailedSignIn(key=key), free
    waits = [(row.wait_until - now).total_seconds() for row, _ in rows.values() if row.wait_until]
    if (longest := max(waits, default=0.0)) > 0:
        seconds = int(longest) + 1
        raise TooManyError(f"Too many failed sign-ins. Wait {_words(seconds)}, then try again.", retry_after=seconds)
    for row, free in rows.values():
        row.count = 1 if now - row.last_at > _FORGOTTEN else row.count + 1
        row.last_at = now
        over = row.count - free
        row.wait_until = now + min(timedelta(seconds=2.0 ** min(over, 12)), _LONGEST) if over >= 0 else None
        session.add(row)
    session.execute(sa.delete(FailedSignIn).where(col(FailedSignIn.last_at) < now - _FORGOTTEN))
    session.flush()


def _words(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{seconds // 60 + 1} minutes"


def succeeded(session: Session, name: str, address: str) -> None:
    """It did not fail. Of the address only this one is taken back, for others sit behind it."""
    by_name, by_address = (session.get(FailedSignIn, key, with_for_update=True) for key, _ in _keys(name, address))
    if by_name is not None:
        session.delete(by_name)
    if by_address is not None:
        by_address.count = max(0, by_address.count - 1)
        by_address.wait_until = None
    session.flush()
