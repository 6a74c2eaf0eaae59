"""The page of a sweep: which combination is best, and what to do with it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.domain import comparison
from app.domain.jobs.states import FINAL
from app.domain.sweeps import service
from app.web.deps import ActorDep, ContextDep, Id, SessionDep
from app.web.pages.compare import compared
from app.web.render import page, see_other, translate_many
from app.web.render import translate as _
from app.web.views.sweeps import counts, drawn, labels, sweep_rows

router = APIRouter(prefix="/sweeps")


@router.get("/{sweep_id}")
def detail_page(request: Request, session: SessionDep, actor: ActorDep, sweep_id: Id) -> Response:
    """Field values against validation loss; the curves of the best."""
    sweep, jobs = service.get_sweep(session, sweep_id)
    runs = comparison.read(session, jobs)
    rows = sweep_rows(sweep, runs)
    return page(
        request,
        "sweeps/detail.html",
        sweep=sweep,
        rows=rows,
        labels=labels(sweep),
        best=next((row for row in rows if row.best), None),
        counts=counts(jobs),
        mine=actor.owns(sweep.owner_id),
        whole=all(job.job_state in FINAL for job in jobs),
        **compared(session, drawn(runs)),
    )


@router.post("/{sweep_id}/cancel")
def cancel(request: Request, session: SessionDep, ctx: ContextDep, sweep_id: Id) -> Response:
    """Those that wait; those that run go on."""
    count = service.cancel_waiting(session, ctx.bells, sweep_id)
    said = translate_many("%(n)s waiting training was cancelled.", "%(n)s waiting trainings were cancelled.", count)
    return see_other(request, f"/sweeps/{sweep_id}", said if count else _("None waits any more."))
