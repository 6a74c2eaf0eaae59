"""The curves of a job: as JSON for the charts, thinned or exactly, and as CSV to take away."""

from __future__ import annotations

import csv
import heapq
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby, repeat
from operator import itemgetter
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response, StreamingResponse

from app.domain.jobs import service
from app.domain.metrics import service as metrics
from app.domain.metrics.axis import axis
from app.web.deps import MAX_ID, Id, SessionDep

router = APIRouter(prefix="/jobs")
#: Points of one curve in an answer.
_POINTS = 2000
#: Lines of a CSV that are written at once.
_LINES = 2000

Step = Annotated[int, Query(ge=0, le=MAX_ID)]


@router.get("/{job_id}/metrics.json")
def metrics_json(session: SessionDep, job_id: Id, start: Step = 0, stop: Step = MAX_ID) -> JSONResponse:
    """Every curve, thinned, from `start` to `stop`; the event number they hold at; and for all of it, the axis."""
    job = service.get_job(session, job_id)
    whole = (start, stop) == (0, MAX_ID)
    found = metrics.series(session, job_id, max_points=_POINTS, span=None if whole else (start, stop))
    answer: dict[str, Any] = {
        "series": {name: [list(x), list(y)] for name, (x, y) in found.items()},
        "seq": job.event_seq,
        "thinned": any(len(x) > _POINTS // 2 for x, _y in found.values()),
    }
    return JSONResponse(answer | {"axis": asdict(axis(session, job_id))} if whole else answer)


@router.get("/{job_id}/metrics.csv")
def metrics_csv(session: SessionDep, job_id: Id) -> Response:
    """Every point of every curve: a line for each step, a column for each curve."""
    service.get_job(session, job_id)
    found = metrics.exact(session, job_id)
    headers = {"Content-Disposition": f'attachment; filename="job-{job_id}-metrics.csv"'}
    return StreamingResponse(_lines(found), media_type="text/csv; charset=utf-8", headers=headers)


def _lines(found: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> Iterator[str]:
    """All curves side by side, read on together: nothing is copied."""
    out = io.StringIO()
    write = csv.DictWriter(out, ["step", *sorted(found)])
    write.writeheader()
    points = heapq.merge(
        *(zip(steps, repeat(name, len(steps)), values, strict=True) for name, (steps, values) in found.items())
    )
    for number, (step, here) in enumerate(groupby(points, itemgetter(0)), start=1):
        write.writerow({"step": step} | {name: value for _step, name, value in here})
        if number % _LINES == 0:
            yield out.getvalue()
            out.seek(0)
            out.truncate()
    yield out.getvalue()
