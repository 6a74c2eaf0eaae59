"""The list of jobs, and above it those that wait, in the order they start."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlmodel import Session
from starlette.responses import Response

from app.domain.datasets import service as datasets
from app.domain.jobs import ordering, service
from app.domain.jobs.models import Job
from app.domain.jobs.states import LEASED, JobState, Queue
from app.domain.metrics import service as metrics
from app.domain.metrics.pace import seconds_per_step
from app.domain.users.access import Actor
from app.web.deps import ActorDep, ContextDep, FormDep, Id, SessionDep, text
from app.web.render import is_partial, page, see_other
from app.web.render import translate as _
from app.web.views.actions import line_items
from app.web.views.jobs import job_view

router = APIRouter(prefix="/jobs")
PAGE_SIZE = 50
#: Waiting jobs shown in their order.
LINE_SIZE = 50
_WAITING = frozenset({JobState.QUEUED, JobState.PAUSED})
FILTERS: dict[str, frozenset[JobState] | None] = {
    "all": None,
    "running": LEASED,
    "waiting": _WAITING,
    "done": frozenset({JobState.SUCCEEDED}),
    "failed": frozenset({JobState.FAILED, JobState.CANCELLED}),
}


@router.get("")
def list_page(
    request: Request,
    session: SessionDep,
    actor: ActorDep,
    show: str = "all",
    start: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> Response:
    """All trainings, newest first; above them those that wait, in the order they start."""
    return _list(request, session, actor, show, start)


def _list(request: Request, session: Session, actor: Actor, show: str = "all", start: int = 0) -> Response:
    states = FILTERS.get(show)
    found = service.list_jobs(session, states=states, limit=PAGE_SIZE + 1, offset=start)
    counts = service.count_by_state(session)
    rows = job_rows(session, found[:PAGE_SIZE])
    tabs = [_tab(name, show, counts) for name in FILTERS]
    more = len(found) > PAGE_SIZE
    line = ordering.waiting(session, Queue.GPU, LINE_SIZE) if show in {"all", "waiting"} and not start else []
    return page(
        request,
        "jobs/list.html",
        rows=rows,
        tabs=tabs,
        show=show,
        start=start,
        more=more,
        page_size=PAGE_SIZE,
        line=line_items(line, actor),
        line_more=max(0, ordering.count_waiting(session, Queue.GPU) - len(line)) if line else 0,
    )


def _tab(name: str, show: str, counts: dict[str, int]) -> dict[str, Any]:
    states = FILTERS[name]
    words = {
        "all": _("All"),
        "running": _("Running"),
        "waiting": _("Waiting"),
        "done": _("Succeeded"),
        "failed": _("Failed"),
    }
    count = sum(number for state, number in counts.items() if states is None or state in states)
    return {"href": f"/jobs?show={name}", "label": words[name], "current": name == show, "count": count}


def job_rows(session: Session, found: list[Job]) -> list[dict[str, Any]]:
    """Jobs with data set, curve and time left, for any list: three queries, however many jobs."""
    names = datasets.names(session, (job.subject_id for job in found))
    curves = metrics.sparklines(session, [job.id or 0 for job in found])
    paces = seconds_per_step(session, [job for job in found if job.state == JobState.RUNNING])
    return [
        {
            "job": job_view(job, paces.get(job.id or 0)),
            "dataset": names.get(job.subject_id, ""),
            "curve": curves.get(job.id or 0, []),
        }
        for job in found
    ]


@router.post("/{job_id}/move")
def move(
    request: Request, session: SessionDep, ctx: ContextDep, actor: ActorDep, job_id: Id, form: FormDep
) -> Response:
    """One place earlier or later; the list, when its fragment asks."""
    ordering.shift(session, ctx.bells, job_id, -1 if text(form, "where") == "earlier" else 1)
    return _list(request, session, actor) if is_partial(request) else see_other(request, "/jobs#queue")
