"""Home: what runs, what waits, what ended; or the three first steps."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.domain import demo
from app.domain.jobs import service as jobs
from app.domain.jobs.states import FINAL, LEASED, JobState
from app.domain.workers import service as workers
from app.web.deps import ContextDep, SessionDep
from app.web.doors import about
from app.web.pages.datasets import dataset_views
from app.web.pages.job_list import job_rows
from app.web.render import page, see_other
from app.web.render import translate as _
from app.web.views.jobs import job_view

router = APIRouter()
WAITING = frozenset({JobState.QUEUED, JobState.PAUSED})


@router.get("/")
def home(request: Request, session: SessionDep) -> Response:
    """Everything at a glance."""
    running = job_rows(session, jobs.list_jobs(session, states=LEASED, limit=20))
    waiting = [job_view(job) for job in jobs.list_jobs(session, states=WAITING, limit=20)]
    ended = [job_view(job) for job in jobs.list_jobs(session, states=FINAL, limit=8)]
    sets = dataset_views(session)
    served = workers.someone_serves(session, "gpu") or not waiting
    first_time = not (running or waiting or ended or sets)
    return page(
        request,
        "home/home.html",
        running=running,
        waiting=waiting,
        ended=ended,
        datasets=sets[:5],
        served=served,
        first_time=first_time,
        preparing=[view for view in sets if view.is_checking and not view.intake_failed],
    )


@router.get("/patterns")
def patterns(request: Request) -> Response:
    """Every component in every state."""
    return page(request, "patterns.html")


@router.post("/demo")
def start_demo(request: Request, session: SessionDep, ctx: ContextDep) -> Response:
    """The sample data set and, once it is checked, its training."""
    dataset = demo.start_demo(session, ctx)
    about(request, f"dataset {dataset.id} “{dataset.name}”")
    said = _("The sample data set is being checked; its training starts by itself right after.")
    return see_other(request, f"/datasets/{dataset.id}", said)
