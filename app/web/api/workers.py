"""Workers as JSON: what each has and does; let one save its job and take no other, and go on."""

from __future__ import annotations

from fastapi import APIRouter
from sqlmodel import Session

from app.domain.jobs import service as jobs
from app.domain.jobs.states import LEASED, JobKind
from app.domain.workers import service
from app.domain.workers.models import Worker
from app.web.api.bounded import BoundedRoute
from app.web.api.refusals import EVERYWHERE, refused
from app.web.api.schemas import WorkerOut
from app.web.deps import ContextDep, SessionDep

_MISSING = refused(404, "There is no such worker")
router = APIRouter(prefix="/api/workers", tags=["workers"], route_class=BoundedRoute, responses=EVERYWHERE)


@router.get("")
def list_workers(session: SessionDep) -> list[WorkerOut]:
    """Every worker that is known, by name."""
    return _told(session, service.list_workers(session))


@router.post("/{queue}/{name}/drain", responses=_MISSING)
def drain(session: SessionDep, ctx: ContextDep, queue: str, name: str) -> WorkerOut:
    """Let it save its job, which then waits for another worker, and take no other."""
    return _told(session, [service.drain(session, ctx.bells, name, queue)])[0]


@router.post("/{queue}/{name}/resume", responses=_MISSING)
def resume(session: SessionDep, ctx: ContextDep, queue: str, name: str) -> WorkerOut:
    """Let it take jobs again."""
    return _told(session, [service.resume(session, ctx.bells, name, queue)])[0]


def _told(session: Session, found: list[Worker]) -> list[WorkerOut]:
    running = jobs.list_jobs(session, kinds=tuple(JobKind), states=LEASED, limit=500)
    busy = {(job.worker, job.queue): job.id for job in running}
    return [WorkerOut.of(worker, busy.get((worker.name, worker.queue))) for worker in found]
