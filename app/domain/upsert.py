"""Insert or replace rows by their primary key, on SQLite and Postgres alike."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import sqlite
from sqlmodel import Session, SQLModel


def upsert(session: Session, table: type[SQLModel], rows: list[dict[str, Any]]) -> None:
    """Write `rows` (each with the same keys); one with a known primary key replaces the old one."""
    if not rows:
        return
    target = table.__table__  # type: ignore[attr-defined]
    insert = _insert(session, target)
    key = [column.name for column in target.primary_key]
    rest = {name: insert.excluded[name] for name in rows[0] if name not in key}
    session.execute(insert.on_conflict_do_update(index_elements=key, set_=rest), rows)


def insert_missing(session: Session, table: type[SQLModel], rows: list[dict[str, Any]]) -> None:
    """Write those of `rows` whose primary key is not there yet; the others stay as they are."""
    target = table.__table__  # type: ignore[attr-defined]
    session.execute(_insert(session, target).on_conflict_do_nothing(), rows)


def _insert(session: Session, target: Any) -> Any:
    if session.get_bind().dialect.name != "postgresql":
        return sqlite.insert(target)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(target)
