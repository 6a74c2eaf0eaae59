"""The people of an installation with accounts, and what is theirs."""

from __future__ import annotations

from functools import cache

import sqlalchemy as sa

from app.core.context import Context
from app.domain.datasets.models import Dataset
from app.domain.jobs.models import Job
from app.domain.sweeps.models import Sweep
from app.domain.users import passwords, service
from app.domain.users.access import Role

PASSWORD = "four plain words here"
PEOPLE = {"ada": Role.ADMINISTRATOR, "mia": Role.MEMBER, "max": Role.MEMBER, "vi": Role.VIEWER}


def settle(ctx: Context) -> dict[str, int]:
    """All of them, each with the same password. Returns their numbers."""
    ids = {}
    with ctx.db.session(write=True) as session:
        for name, role in PEOPLE.items():
            user = service.create(session, name, role)
            user.password_hash = known_hash()
            ids[name] = user.id or 0
    return ids


@cache
def known_hash() -> str:
    """Of the password; made once, since it is slow."""
    return passwords.hashed(PASSWORD)


def give(ctx: Context, user_id: int) -> None:
    """Whatever is nobody's becomes theirs."""
    with ctx.db.session(write=True) as session:
        for table in (Dataset, Job, Sweep):
            session.execute(sa.update(table).where(table.owner_id.is_(None)).values(owner_id=user_id))  # type: ignore[union-attr]
        session.execute(sa.update(Job).where(Job.started_by.is_(None)).values(started_by=user_id))  # type: ignore[union-attr]
