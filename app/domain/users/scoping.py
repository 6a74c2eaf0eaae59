"""A session that acts for a person sees what this person may see, whatever is asked of it.

Every SELECT, UPDATE and DELETE of data sets and jobs gets the condition by itself, so that no query can forget it.
Where the answer must count everybody's, such as the order of a queue, the statement says so: `everybody(statement)`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, with_loader_criteria
from sqlalchemy.orm import Session as OrmSession
from sqlmodel import Session

from app.domain.datasets.models import Dataset
from app.domain.jobs.models import Job
from app.domain.users.access import Actor

_ACTOR, _MOST_JOBS, _WROTE = "actor", "most_jobs", "wrote"
#: Execution options of a statement over everybody's rows.
EVERYBODY = {"everybody": True}
StatementT = TypeVar("StatementT", bound=Any)


def act_as(session: Session, actor: Actor, *, most_jobs: int = 0) -> None:
    """From now on `session` sees what `actor` may see, and what it makes is theirs: so many live jobs (0: any)."""
    session.info[_ACTOR], session.info[_MOST_JOBS] = actor, most_jobs


def most_jobs_of(session: Session) -> int:
    """How many live jobs the person may have; 0: any number."""
    return int(session.info.get(_MOST_JOBS, 0))


def wrote(session: Session) -> bool:
    """Whether anything was changed in it so far."""
    return bool(session.info.get(_WROTE))


def actor_of(session: OrmSession) -> Actor | None:
    """Whom `session` acts for; None for the processes of the house."""
    actor: Actor | None = session.info.get(_ACTOR)
    return actor


def everybody(statement: StatementT) -> StatementT:
    """The same statement over everybody's rows. What it reads stays in the session: `get_job` asks once more."""
    done: StatementT = statement.execution_options(**EVERYBODY)
    return done


@event.listens_for(OrmSession, "after_flush")
def _note(session: OrmSession, _context: Any) -> None:
    session.info[_WROTE] = True


@event.listens_for(OrmSession, "do_orm_execute")
def _scope(state: ORMExecuteState) -> None:
    if state.is_insert or state.is_update or state.is_delete:
        state.session.info[_WROTE] = True
    actor = actor_of(state.session)
    if actor is None or actor.sees_all or state.execution_options.get("everybody", False):
        return
    if state.is_select or state.is_update or state.is_delete:
        state.statement = state.statement.options(*_criteria(actor.user_id))


def _criteria(user_id: int | None) -> list[Any]:
    return [
        with_loader_criteria(table, sa.or_(table.owner_id == user_id, table.shared), include_aliases=True)  # type: ignore[arg-type]
        for table in (Dataset, Job)
    ]
