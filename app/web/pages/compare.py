"""Two to eight runs beside each other, at an address that can be handed on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlmodel import Session
from starlette.responses import JSONResponse, Response

from app.domain import comparison
from app.domain.comparison import Run
from app.domain.jobs.states import LIVE
from app.domain.preferences import service as preferences
from app.domain.preferences.service import Prices
from app.web.deps import SessionDep
from app.web.render import page, see_other
from app.web.render import translate as _
from app.web.views.compare import (
    MOST,
    address,
    answer_groups,
    columns,
    doubts,
    numbers_of,
    score_lines,
    setting_lines,
)

router = APIRouter(prefix="/compare")
Jobs = Annotated[list[str], Query(default_factory=list)]


@router.get("")
def compare_page(request: Request, session: SessionDep, jobs: Jobs) -> Response:
    """`jobs`: numbers, 1,2,3. What is not there for whoever looks is told as such, whether it exists or not."""
    asked = numbers_of(jobs)
    if len(jobs) > 1:  # as a form sends them: the address to be handed on is the short one
        return see_other(request, address(asked))
    found = comparison.trainings(session, asked[:MOST])
    runs = comparison.read(session, found) if found else []
    return page(request, "compare/compare.html", **compared(session, runs), **_missing(asked, runs))


def compared(session: Session, runs: list[Run]) -> dict[str, Any]:
    """What the tables show."""
    shown = columns(runs, preferences.read(session, Prices))
    differ, same = setting_lines(runs) if runs else ([], [])
    return {
        "here": address(column.id for column in shown),
        "runs": shown,
        "scores": score_lines(shown),
        "differ": differ,
        "same": same,
        "answers": answer_groups(shown),
        "doubts": doubts(runs),
        "live": any(run.job.job_state in LIVE for run in runs),
    }


def _missing(asked: list[int], runs: list[Run]) -> dict[str, Any]:
    there = {run.job.id for run in runs}
    gone = [number for number in asked[:MOST] if number not in there]
    said = [_("Job %(n)s is not shown: it is gone, no training, or not yours to see.", n=number) for number in gone]
    left = asked[MOST:]
    if left:
        names = ", ".join(str(number) for number in left)
        said.append(_("Eight runs at most are compared. Left out: %(names)s.", names=names))
    return {"missing": said}


@router.get("/metrics.json")
def metrics_json(session: SessionDep, jobs: Jobs) -> JSONResponse:
    """Training and validation loss of the runs, thinned, by number; how many steps each is to take."""
    found = comparison.trainings(session, numbers_of(jobs)[:MOST])
    lines = comparison.curves(session, [job.id or 0 for job in found])
    series = {
        job.id: {name: [list(x), list(y)] for name, (x, y) in lines.get(job.id or 0, {}).items()} for job in found
    }
    return JSONResponse({"series": series, "steps": {job.id: job.total_steps for job in found}})
