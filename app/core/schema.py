"""Which version of the schema the database has. Without Alembic, whose import costs a web process 100 ms and 8 MB."""

from __future__ import annotations

import re
from functools import lru_cache

import sqlalchemy as sa

from app.core.db import Database
from app.core.settings import resource_dir

_NAMED = re.compile(r'^(revision|down_revision) = "(\w+)"$', re.MULTILINE)


def is_current(db: Database) -> bool:
    """Whether the schema is the one this code was written for. Raises `SQLAlchemyError` when the database is away."""
    with db.engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return False
        found = connection.execute(sa.text("select version_num from alembic_version")).scalars().all()
    return set(found) == heads()


@lru_cache
def heads() -> frozenset[str]:
    """The newest revision: the one that no other follows."""
    revisions, followed = set[str](), set[str]()
    for path in (resource_dir("migrations") / "versions").glob("*.py"):
        for name, value in _NAMED.findall(path.read_text(encoding="utf-8")):
            (revisions if name == "revision" else followed).add(value)
    return frozenset(revisions - followed)
