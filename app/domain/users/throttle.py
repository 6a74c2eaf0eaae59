"""Guessing made slow: after a few failures a name, and an address, must wait ever longer.

Kept in the database, so that every web process counts the same.
"""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import timedelta

import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.core.db import utcnow
from app.domain.errors import TooManyError
from app.domain.upsert import insert_missing
from app.domain.users.models import FailedSignIn

#: Failures that cost nothing: for a name from one address; for an address, behind which many people may sit; for a
#: name from anywhere, so much that a stranger does not lock an account in passing.
_FREE, _FREE_ADDRESS, _FREE_NAME = 5, 20, 100
_LONGEST = timedelta(minutes=15)
#: After so long without a failure all is forgotten.
_FORGOTTEN = timedelta(hours=1)


def _keys(name: str, address: str) -> dict[str, int]:
    """Each with the failures that are free."""
    whose = hashlib.sha256(name.casefold().encode()).hexdigest()[:32]
    place = _network(address)
    return {f"both {whose} {place}": _FREE, f"address {place}": _FREE_ADDRESS, f"name {whose}": _FREE_NAME}


def _network(address: str) -> str:
    """Of IPv6 the first half: the rest is anybody's to choose who has one address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def attempt(session: Session, name: str, address: str) -> None:
    """Count an attempt as failed until it has `succeeded`, so that many at once are no more than many in turn.

    Raises `TooManyError` with the seconds to wait.
    """
    now, keys = utcnow(), _keys(name, address)
    insert_missing(session, FailedSignIn, [{"key": key, "count": 0, "last_at": now} for key in sorted(keys)])
    found = select(FailedSignIn).where(col(FailedSignIn.key).in_(list(keys))).order_by(col(FailedSignIn.key))
    rows = session.exec(found.with_for_update().execution_options(populate_existing=True)).all()
    waits = [(row.wait_until - now).total_seconds() for row in rows if row.wait_until]
    if (longest := max(waits, default=0.0)) > 0:
        seconds = int(longest) + 1
        raise TooManyError(f"Too many failed sign-ins. Wait {_words(seconds)}, then try again.", retry_after=seconds)
    for row in rows:
        row.count = 1 if now - row.last_at > _FORGOTTEN else row.count + 1
        row.last_at = now
        over = row.count - keys[row.key]
        row.wait_until = now + min(timedelta(seconds=4.0 * 2 ** min(over, 12)), _LONGEST) if over >= 0 else None
        session.add(row)
    session.execute(sa.delete(FailedSignIn).where(col(FailedSignIn.last_at) < now - _FORGOTTEN))
    session.flush()


def _words(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{seconds // 60 + 1} minutes"


def succeeded(session: Session, name: str, address: str) -> None:
    """It did not fail. Of what counts for others too only this one is taken back."""
    keys = list(_keys(name, address))
    rows = session.exec(select(FailedSignIn).where(col(FailedSignIn.key).in_(keys)).with_for_update()).all()
    for row in rows:
        row.count = 0 if row.key == keys[0] else max(0, row.count - 1)
        row.wait_until = None
    session.flush()
