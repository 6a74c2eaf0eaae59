"""Queues as JSON: what waits, in which order, and whether anything starts at all."""

from __future__ import annotations

from fastapi import APIRouter
from sqlmodel import Session

from app.domain.jobs import holding, ordering
from app.domain.jobs.states import Queue
from app.domain.users.scoping import actor_of
from app.web.api.bounded import BoundedRoute
from app.web.api.refusals import EVERYWHERE, refused
from app.web.api.schemas import JobOut, QueueOut
from app.web.deps import ContextDep, SessionDep

_UNKNOWN = refused(422, "There is no such queue")
router = APIRouter(prefix="/api/queues", tags=["queues"], route_class=BoundedRoute, responses=EVERYWHERE)
#: Of each queue; more are told by `/api/jobs?state=queued`.
_SHOWN = 200


@router.get("")
def list_queues(session: SessionDep) -> list[QueueOut]:
    """Every queue."""
    return [_queue(session, name) for name in Queue]


@router.post("/{queue}/hold", responses=_UNKNOWN)
def hold(session: SessionDep, ctx: ContextDep, queue: str) -> QueueOut:
    """Start nothing new; what runs goes on."""
    holding.hold(session, ctx.bells, queue)
    return _queue(session, queue)


@router.post("/{queue}/go", responses=_UNKNOWN)
def let_go(session: SessionDep, ctx: ContextDep, queue: str) -> QueueOut:
    """Start what waits."""
    holding.let_go(session, ctx.bells, queue)
    return _queue(session, queue)


def _queue(session: Session, name: str) -> QueueOut:
    line, actor = ordering.waiting(session, name, _SHOWN), actor_of(session)
    seen = [job for job in line if actor is None or actor.sees(job.owner_id, shared=job.shared)]
    waiting = [JobOut.of(job) for job in seen]
    return QueueOut(name=name, held=name in holding.held(session), waiting=waiting, others=len(line) - len(seen))
