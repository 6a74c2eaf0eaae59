"""Sweeps as JSON: a grid of trainings started as one, and what became of each."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from sqlmodel import Session

from app.domain import comparison
from app.domain.sweeps import service
from app.web.api.bounded import BoundedRoute
from app.web.api.refusals import EVERYWHERE, refused
from app.web.api.schemas import NewSweep, SweepOut, SweepRun
from app.web.deps import ContextDep, Id, SessionDep
from app.web.doors import about

_MISSING = refused(404, "There is no such sweep")
router = APIRouter(prefix="/api/sweeps", tags=["sweeps"], route_class=BoundedRoute, responses=EVERYWHERE)


@router.post("", status_code=201)
def create(request: Request, session: SessionDep, ctx: ContextDep, response: Response, wish: NewSweep) -> SweepOut:
    """Queue a training for each combination of the values in `grid`, 24 at most; all of them, or none."""
    sweep = service.launch(
        session,
        ctx.bells,
        ctx.settings,
        dataset_id=wish.dataset_id,
        name=wish.name,
        config=wish.config,
        grid=wish.grid,
        priority=wish.priority,
    )
    about(request, f"sweep {sweep.id} “{sweep.name}”")
    response.headers["location"] = f"/api/sweeps/{sweep.id}"
    return _told(session, sweep.id or 0)


@router.get("/{sweep_id}", responses=_MISSING)
def get(session: SessionDep, sweep_id: Id) -> SweepOut:
    """One sweep: its trainings in the order of the grid, and which is best."""
    return _told(session, sweep_id)


@router.post("/{sweep_id}/cancel", responses=_MISSING)
def cancel(session: SessionDep, ctx: ContextDep, sweep_id: Id) -> SweepOut:
    """Cancel those that wait; those that run go on."""
    service.cancel_waiting(session, ctx.bells, sweep_id)
    return _told(session, sweep_id)


def _told(session: Session, sweep_id: int) -> SweepOut:
    sweep, jobs = service.get_sweep(session, sweep_id)
    runs = comparison.read(session, jobs)
    lowest = comparison.best(runs)
    return SweepOut(
        id=sweep_id,
        name=sweep.name,
        fields=sweep.fields,
        best=lowest.job.id if lowest else None,
        runs=[SweepRun.of(run, sweep.fields) for run in runs],
        owner_id=sweep.owner_id,
        created_at=sweep.created_at,
    )
