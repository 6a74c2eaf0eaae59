"""Data sets as JSON: what there is, its rows, both of its files, and new versions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.domain.datasets import service
from app.domain.datasets.changes import Changes
from app.domain.datasets.formats import checked_row
from app.domain.datasets.models import Dataset
from app.domain.datasets.refusals import RowError
from app.domain.datasets.row_search import LONGEST
from app.domain.errors import InvalidError
from app.web.api.bounded import BoundedRoute
from app.web.api.dataset_schemas import DatasetOut, NewVersion, RowOut, RowPage
from app.web.api.refusals import EVERYWHERE, Responses, refused
from app.web.deps import MAX_ID, ContextDep, Id, SessionDep
from app.web.doors import request_session
from app.web.pages import dataset_files
from app.web.pages.row_list import look
from app.web.pages.versions import make, read_dataset

_LINES, _BYTES = "application/x-ndjson", "application/octet-stream"
router = APIRouter(prefix="/api/datasets", tags=["data sets"], route_class=BoundedRoute, responses=EVERYWHERE)


@router.get("")
def list_datasets(session: SessionDep) -> list[DatasetOut]:
    """All data sets, newest first."""
    return [DatasetOut.of(dataset) for dataset in service.list_datasets(session)]


@router.get("/{dataset_id}")
def get(session: SessionDep, dataset_id: Id) -> DatasetOut:
    """One data set."""
    return DatasetOut.of(service.get_dataset(session, dataset_id))


@router.get("/{dataset_id}/rows")
def rows(
    request: Request,
    ctx: ContextDep,
    dataset_id: Id,
    q: Annotated[str, Query(max_length=LONGEST, description="only rows that hold this text; case is ignored")] = "",
    start: Annotated[int, Query(ge=1, le=MAX_ID, description="number of the first row, from 1 on")] = 1,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> RowPage:
    """Rows of a data set, or those that hold a text. Fewer than `limit` come where they are huge."""
    with request_session(request, write=False) as session:
        dataset = service.get_dataset(session, dataset_id)
        session.expunge(dataset)
    found = look(ctx, dataset, q.strip(), start - 1, limit)
    after = None if found.next is None else found.next + 1
    return RowPage(rows=[RowOut(number=number + 1, row=row) for number, row in found.rows], next=after)


def _file(media_type: str, what: str) -> Responses:
    schema = {"schema": {"type": "string", "format": "binary"}}
    headers = {"content-disposition": {"description": "its name", "schema": {"type": "string"}}}
    part: Responses = {206: {"content": {media_type: schema}, "description": "The part that `Range` asks for"}}
    return part | {200: {"content": {media_type: schema}, "headers": headers, "description": what}}


@router.get("/{dataset_id}/rows.jsonl", response_class=Response, responses=_file(_LINES, "One JSON object a line"))
def rows_file(request: Request, ctx: ContextDep, dataset_id: Id) -> Response:
    """All rows of a version as JSON lines."""
    return dataset_files.rows_file(request, ctx, dataset_id)


@router.get("/{dataset_id}/original", response_class=Response, responses=_file(_BYTES, "The very bytes"))
def original(request: Request, ctx: ContextDep, dataset_id: Id) -> Response:
    """The file as it was uploaded."""
    return dataset_files.original_file(request, ctx, dataset_id)


@router.post(
    "/{dataset_id}/versions",
    status_code=201,
    responses=refused(409, "The data set is not ready") | refused(507, "The disk has no room for the new version"),
)
def make_version(request: Request, ctx: ContextDep, response: Response, dataset_id: Id, wish: NewVersion) -> DatasetOut:
    """A new version; a large one is `checking` until a worker has written it. The rows of this one stay as they are."""
    parent = read_dataset(request, dataset_id)
    made = make(request, ctx, parent, _changes(parent, wish))
    response.headers["location"] = f"/api/datasets/{made.id}"
    return DatasetOut.of(made)


def _changes(parent: Dataset, wish: NewVersion) -> Changes:
    numbers = [*(each.number for each in wish.edit), *wish.leave_out]
    if any(not 1 <= number <= parent.row_count for number in numbers):
        raise InvalidError(f"The rows have the numbers 1 to {parent.row_count}.", field="leave_out")
    if wish.matching.strip():
        return Changes(kind="matching", matching=wish.matching)
    if wish.copies or wish.restore:
        return Changes(kind="copies" if wish.copies else "restored")
    edited, errors = {}, {}
    for each in wish.edit:
        try:
            edited[each.number - 1] = row = checked_row(each.row)
        except RowError as exc:
            errors[f"edit.{each.number}"] = exc.message
            continue
        if ("text" in row) != (parent.format == "text"):
            errors[f"edit.{each.number}"] = "The rows of a data set are either conversations or texts."
    if errors:
        raise InvalidError("Some rows can't be kept so.", errors=errors)
    excluded = tuple(sorted({number - 1 for number in wish.leave_out}))
    return Changes(kind="edited" if edited else "excluded", edited=edited, excluded=excluded)
