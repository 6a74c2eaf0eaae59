"""Jobs as JSON: everything that a person can do with one on its page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlmodel import Session

from app.core.live import Bells
from app.domain.jobs import ordering, owners, service
from app.domain.jobs.launch import launch_like, launch_training, repeat
from app.domain.jobs.states import JobKind, JobState
from app.web.api.bounded import BoundedRoute
from app.web.api.refusals import EVERYWHERE, refused
from app.web.api.schemas import Changes, JobOut, JobPage, Move, NewJob, Priority, Share
from app.web.deps import MAX_ID, ContextDep, Id, SessionDep
from app.web.doors import about

_MISSING = refused(404, "There is no such job")
_REFUSED = refused(409, "Not in the state that the job is in")
_LIKE = _MISSING | _REFUSED
router = APIRouter(prefix="/api/jobs", tags=["jobs"], route_class=BoundedRoute, responses=EVERYWHERE)


@router.get("")
def list_jobs(
    session: SessionDep,
    kind: Annotated[list[JobKind] | None, Query(description="trainings when left out")] = None,
    state: Annotated[list[JobState] | None, Query(description="any when left out")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
) -> JobPage:
    """Jobs, newest first."""
    kinds = tuple(kind or (JobKind.TRAIN,))
    found = service.list_jobs(session, kinds=kinds, states=state, limit=limit + 1, offset=offset)
    more = offset + limit if len(found) > limit else None
    return JobPage(jobs=[JobOut.of(job) for job in found[:limit]], next=more)


@router.post("", status_code=201)
def create(request: Request, session: SessionDep, ctx: ContextDep, response: Response, wish: NewJob) -> JobOut:
    """Queue a training on a data set that is ready."""
    job = launch_training(
        session,
        ctx.bells,
        ctx.settings,
        dataset_id=wish.dataset_id,
        name=wish.name,
        config=wish.config,
        priority=wish.priority,
    )
    about(request, f"job {job.id} “{job.name}”")
    return _made(response, JobOut.of(job))


@router.get("/{job_id}", responses=_MISSING)
def get(session: SessionDep, job_id: Id) -> JobOut:
    """One job."""
    return JobOut.of(service.get_job(session, job_id))


@router.delete("/{job_id}", status_code=204, responses=_MISSING)
def delete(session: SessionDep, ctx: ContextDep, job_id: Id) -> None:
    """Cancel it if it lives, and forget it with its numbers, answers and files."""
    service.delete(session, ctx.bells, job_id)


@router.post("/{job_id}/pause", responses=_MISSING | _REFUSED)
def pause(session: SessionDep, ctx: ContextDep, job_id: Id) -> JobOut:
    """Let a running training save a checkpoint and leave its worker."""
    return _act(session, ctx.bells, job_id, service.pause)


@router.post("/{job_id}/resume", responses=_MISSING | _REFUSED)
def resume(session: SessionDep, ctx: ContextDep, job_id: Id) -> JobOut:
    """Queue a paused job again; it goes on from its last checkpoint."""
    return _act(session, ctx.bells, job_id, service.resume)


@router.post("/{job_id}/cancel", responses=_MISSING | _REFUSED)
def cancel(session: SessionDep, ctx: ContextDep, job_id: Id) -> JobOut:
    """Stop it for good: at once while it waits, at its next step while it runs."""
    return _act(session, ctx.bells, job_id, service.cancel)


@router.post("/{job_id}/first", responses=_MISSING | _REFUSED)
def first(session: SessionDep, ctx: ContextDep, job_id: Id) -> JobOut:
    """Let a waiting job start before all others of its queue."""
    return _act(session, ctx.bells, job_id, ordering.start_next)


@router.post("/{job_id}/share", responses=_LIKE)
def share(session: SessionDep, job_id: Id, wish: Share) -> JobOut:
    """Let everybody who signs in see a job and what was made of it, or nobody but its owner."""
    owners.share(session, service.get_job(session, job_id).id or 0, shared=wish.shared)
    return JobOut.of(service.get_job(session, job_id))


@router.post("/{job_id}/retry", status_code=201, responses=_LIKE)
def retry(session: SessionDep, ctx: ContextDep, response: Response, job_id: Id) -> JobOut:
    """A new job with the same settings; the old one stays as it is."""
    return _made(response, JobOut.of(repeat(session, ctx.bells, ctx.settings, job_id)))


@router.post("/{job_id}/duplicate", status_code=201, responses=_LIKE)
def duplicate(session: SessionDep, ctx: ContextDep, response: Response, job_id: Id, changes: Changes) -> JobOut:
    """A new training like this one, with some settings changed."""
    return _made(response, _like(session, ctx, job_id, changes, further=False))


@router.post("/{job_id}/further", status_code=201, responses=_LIKE)
def further(session: SessionDep, ctx: ContextDep, response: Response, job_id: Id, changes: Changes) -> JobOut:
    """A new training that goes on from this one's adapter."""
    return _made(response, _like(session, ctx, job_id, changes, further=True))


@router.post("/{job_id}/priority", responses=_LIKE)
def priority(session: SessionDep, ctx: ContextDep, job_id: Id, wish: Priority) -> JobOut:
    """Let a waiting or paused job go before, with or after the others."""
    ordering.set_priority(session, ctx.bells, job_id, wish.priority)
    return JobOut.of(service.get_job(session, job_id))


@router.post("/{job_id}/move", responses=_LIKE)
def move(session: SessionDep, ctx: ContextDep, job_id: Id, wish: Move) -> JobOut:
    """Give a waiting job another place in its queue."""
    if wish.where is None:
        ordering.put_before(session, ctx.bells, job_id, wish.before)
    else:
        ordering.shift(session, ctx.bells, job_id, -1 if wish.where == "earlier" else 1)
    return JobOut.of(service.get_job(session, job_id))


def _act(session: Session, bells: Bells, job_id: int, act: Callable[[Session, Bells, int], None]) -> JobOut:
    act(session, bells, job_id)
    return JobOut.of(service.get_job(session, job_id))


def _like(session: Session, ctx: ContextDep, job_id: int, changes: Changes, *, further: bool) -> JobOut:
    job = launch_like(
        session,
        ctx.bells,
        ctx.settings,
        job_id,
        further=further,
        dataset_id=changes.dataset_id,
        name=changes.name,
        changes=changes.config,
    )
    return JobOut.of(job)


def _made(response: Response, job: JobOut) -> JobOut:
    response.headers["location"] = f"/api/jobs/{job.id}"
    return job
