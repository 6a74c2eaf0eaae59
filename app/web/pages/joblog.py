"""The log of a job: searched and turned back page by page, and to take away as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response, StreamingResponse

from app.core.context import Context
from app.domain.jobs import joblog, service
from app.domain.jobs.models import JobEvent
from app.web.deps import MAX_ID, ContextDep, Id, SessionDep
from app.web.views.jobs import log_view

router = APIRouter(prefix="/jobs")
#: Lines in one answer, and lines looked through for it at most.
_LINES, _LOOKED_AT = 500, 50_000
_BATCH = 2000
_LEVELS = {
    "all": frozenset({"debug", "info", "warning", "error"}),
    "warnings": frozenset({"warning", "error"}),
    "errors": frozenset({"error"}),
}

Level = Literal["all", "warnings", "errors"]
Sought = Annotated[str, Query(max_length=200)]
Before = Annotated[int, Query(ge=1, le=MAX_ID)]


@router.get("/{job_id}/log.json")
def log_json(
    session: SessionDep, job_id: Id, find: Sought = "", level: Level = "all", before: Before = MAX_ID
) -> JSONResponse:
    """The newest lines before the event `before` that hold `find`; `before` of the next older ones, 0 at the start."""
    service.get_job(session, job_id)
    wanted, looked = find.strip().casefold(), 0
    found: list[dict[str, Any]] = []
    while len(found) < _LINES and looked < _LOOKED_AT:
        batch = joblog.log_lines(session, job_id, _BATCH, before=before)[::-1]
        for event in batch:
            before, looked = event.seq, looked + 1
            line = log_view(event)
            if line["level"] in _LEVELS[level] and wanted in line["message"].casefold():
                found.append({**line, "seq": event.seq})
                if len(found) == _LINES:
                    break
        session.expunge_all()  # a long log is looked through, not kept
        if len(batch) < _BATCH:
            before = before if len(found) == _LINES else 0
            break
    return JSONResponse({"lines": found[::-1], "before": before})


@router.get("/{job_id}/log.txt")
def log_text(session: SessionDep, ctx: ContextDep, job_id: Id) -> Response:
    """All of it, oldest first."""
    service.get_job(session, job_id)
    headers = {"Content-Disposition": f'attachment; filename="job-{job_id}-log.txt"'}
    return StreamingResponse(_text(ctx, job_id), media_type="text/plain; charset=utf-8", headers=headers)


def _text(ctx: Context, job_id: int) -> Iterator[str]:
    after = 0
    while batch := _batch(ctx, job_id, after):
        after = batch[-1].seq
        yield "".join(_line(event) for event in batch)


def _batch(ctx: Context, job_id: int, after: int) -> list[JobEvent]:
    with ctx.db.session() as session:
        found = joblog.log_lines(session, job_id, _BATCH, after=after)
        session.expunge_all()
    return found


def _line(event: JobEvent) -> str:
    view = log_view(event)
    return f"{event.at:%Y-%m-%d %H:%M:%S} {view['level']:7} {view['message']}\n"
