"""Engine, sessions and the outbox: one sync engine for web and worker, one transaction per request or task."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session as OrmSession
from sqlmodel import Session, SQLModel

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
SQLModel.metadata.naming_convention = NAMING

_OUTBOX = "after_commit"


def utcnow() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)


def now_of(session: Session) -> datetime:
    """The clock of the database server, so that no two machines' clocks are compared."""
    if session.get_bind().dialect.name == "postgresql":
        now: datetime = session.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return now
    return utcnow()


def make_engine(url: str, *, worker: bool = False) -> sa.Engine:
    """An engine for `url`. A worker's connections never hold a lock while they sleep (Postgres)."""
    if url.startswith("sqlite"):
        engine = sa.create_engine(url, connect_args={"timeout": 15})
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
        return engine
    address = sa.make_url(url)
    given = str(address.query.get("options", ""))
    options = f"{given} -c idle_in_transaction_session_timeout=10000 -c lock_timeout=5000" if worker else given
    return sa.create_engine(address, pool_pre_ping=True, connect_args={"options": options.strip()})


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours: see _sqlite_begin
    for pragma in ("journal_mode=wal", "synchronous=normal", "busy_timeout=15000", "foreign_keys=on"):
        connection.execute(f"pragma {pragma}")


def _sqlite_begin(connection: sa.Connection) -> None:
    # A reader that turns writer in WAL mode fails at once when another wrote in between: writers say so at the start.
    immediate = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


class Database:
    """The engine of this process. Made anew after a fork, so that no connection is shared with the parent."""

    def __init__(self, url: str, *, worker: bool = False) -> None:
        self.url = url
        self._worker = worker
        self._engine: sa.Engine | None = None
        self._pid = 0

    @property
    def engine(self) -> sa.Engine:
        """The engine, one per process."""
        if self._engine is None or self._pid != os.getpid():
            self._engine, self._pid = make_engine(self.url, worker=self._worker), os.getpid()
        return self._engine

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite."""
        return self.url.startswith("sqlite")

    @contextmanager
    def session(self, *, write: bool = False) -> Iterator[Session]:
        """One transaction: committed at the end, rolled back on an exception."""
        bind: Any = self.engine.execution_options(write=True) if write else self.engine
        with Session(bind, expire_on_commit=False) as session:
            yield session
            session.commit()

    def dispose(self) -> None:
        """Close every connection."""
        if self._engine is not None and self._pid == os.getpid():
            self._engine.dispose()
        self._engine = None


def after_commit(session: OrmSession, action: Callable[[], None]) -> None:
    """Run `action` once this transaction is committed; forget it on rollback."""
    session.info.setdefault(_OUTBOX, []).append(action)


@event.listens_for(OrmSession, "after_commit")
def _flush_outbox(session: OrmSession) -> None:
    for action in session.info.pop(_OUTBOX, []):
        action()


@event.listens_for(OrmSession, "after_rollback")
def _drop_outbox(session: OrmSession) -> None:
    session.info.pop(_OUTBOX, None)
