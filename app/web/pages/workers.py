"""Workers: which machines can take work, and what they do."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.domain.jobs import holding, owners
from app.domain.jobs.states import Queue
from app.domain.workers import service
from app.web.deps import ActorDep, ContextDep, SessionDep
from app.web.render import page, see_other
from app.web.render import translate as _
from app.web.views.workers import worker_row

router = APIRouter(prefix="/workers")


@router.get("")
def list_page(request: Request, session: SessionDep, actor: ActorDep) -> Response:
    """All workers that are known, and the job each has."""
    busy = {(job.worker, job.queue): job for job in owners.held_by_workers(session)}
    found = service.list_workers(session)
    rows = [worker_row(worker, busy.get((worker.name, worker.queue)), actor) for worker in found]
    stopped = holding.held(session)
    queues = [{"name": queue, "held": queue in stopped} for queue in Queue]
    return page(request, "workers/list.html", workers=rows, queues=queues)


@router.post("/queues/{queue}/hold")
def hold(request: Request, session: SessionDep, ctx: ContextDep, queue: str) -> Response:
    """Start nothing new of this queue."""
    holding.hold(session, ctx.bells, queue)
    return see_other(request, "/workers", _("Held. What runs goes on, nothing new starts."))


@router.post("/queues/{queue}/go")
def let_go(request: Request, session: SessionDep, ctx: ContextDep, queue: str) -> Response:
    """Go on."""
    holding.let_go(session, ctx.bells, queue)
    return see_other(request, "/workers", _("The queue goes on."))


@router.post("/{queue}/{name}/drain")
def drain(request: Request, session: SessionDep, ctx: ContextDep, queue: str, name: str) -> Response:
    """Save its job, take no other."""
    service.drain(session, ctx.bells, name, queue)
    said = _(
        "“%(name)s” is being drained: its job is saved and waits for another worker; it takes no other.", name=name
    )
    return see_other(request, "/workers", said)


@router.post("/{queue}/{name}/resume")
def resume(request: Request, session: SessionDep, ctx: ContextDep, queue: str, name: str) -> Response:
    """Take jobs again."""
    service.resume(session, ctx.bells, name, queue)
    return see_other(request, "/workers", _("“%(name)s” takes jobs again.", name=name))
