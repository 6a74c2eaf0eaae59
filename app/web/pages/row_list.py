"""All rows of a data set: from any row on, or those that hold a text."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.core.context import Context
from app.domain.datasets import service
from app.domain.datasets.models import Dataset
from app.domain.datasets.row_search import LONGEST, Found, find
from app.web.deps import MAX_ID, ActorDep, ContextDep, Id
from app.web.doors import request_session
from app.web.render import page
from app.web.views.datasets import dataset_view
from app.web.views.row_list import row_lines

router = APIRouter(prefix="/datasets/{dataset_id}")
ROWS_A_PAGE = 25
#: From 1 on, as a person counts.
Start = Annotated[int, Query(ge=1, le=MAX_ID)]
Text = Annotated[str, Query(max_length=LONGEST)]


@router.get("/rows")
def rows_page(
    request: Request, ctx: ContextDep, actor: ActorDep, dataset_id: Id, q: Text = "", start: Start = 1
) -> Response:
    """A page of rows. A search may take two seconds, so no transaction stays open meanwhile."""
    with request_session(request, write=False) as session:
        dataset = service.get_dataset(session, dataset_id)
        session.expunge(dataset)
    text = q.strip()
    found = look(ctx, dataset, text, start - 1, ROWS_A_PAGE)
    return page(
        request,
        "datasets/rows.html",
        dataset=dataset_view(dataset),
        mine=actor.owns(dataset.owner_id),
        q=text,
        start=start,
        lines=row_lines(found.rows, text),
        next=found.next + 1 if found.next is not None else 0,
        previous=max(1, start - ROWS_A_PAGE) if start > 1 else 0,
        full=len(found.rows) == ROWS_A_PAGE,
    )


def look(ctx: Context, dataset: Dataset, text: str, start: int, count: int) -> Found:
    """`count` rows from `start` (0-based) on: all, or those that hold `text`."""
    if not dataset.rows_key:
        return Found()
    if text:
        return find(ctx.storage.ensure(dataset.rows_key), text, start, count)
    rows = list(enumerate(service.preview_rows(ctx.storage, dataset, start, count), start=start))
    end = start + len(rows)
    return Found(rows, end if rows and end < dataset.row_count else None)
