"""A data set to take away: the file as it was uploaded, and its rows."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from app.core.context import Context
from app.domain.datasets import service, versions
from app.domain.errors import NotFoundError
from app.web.deps import ContextDep, Id
from app.web.doors import request_session
from app.web.downloads import disposition
from app.web.render import translate as _

router = APIRouter(prefix="/datasets/{dataset_id}")


@router.get("/original")
def original(request: Request, ctx: ContextDep, dataset_id: Id) -> Response:
    """The uploaded file, byte for byte."""
    return original_file(request, ctx, dataset_id)


@router.get("/rows.jsonl")
def canonical(request: Request, ctx: ContextDep, dataset_id: Id) -> Response:
    """The rows of this version, one JSON object a line."""
    return rows_file(request, ctx, dataset_id)


def original_file(request: Request, ctx: Context, dataset_id: int) -> Response:
    """Of a version: the file that all of them come from. Raises `NotFoundError` when it is gone."""
    with request_session(request, write=False) as session:
        found = versions.file_of(session, service.get_dataset(session, dataset_id))
        key, name = (found.source_key, found.filename) if found else ("", "")
    return _sent(ctx, key, name, "application/octet-stream")


def rows_file(request: Request, ctx: Context, dataset_id: int) -> Response:
    """The canonical rows. Raises `NotFoundError` when there are none."""
    with request_session(request, write=False) as session:
        dataset = service.get_dataset(session, dataset_id)
        key, name = dataset.rows_key, dataset.title.replace(" · version ", " v") + ".jsonl"
    return _sent(ctx, key, name, "application/x-ndjson")


def _sent(ctx: Context, key: str, name: str, media_type: str) -> Response:
    """Fetching it from elsewhere may take long, so no transaction is open. A download that broke off goes on."""
    path = ctx.storage.ensure(key) if key else None
    if path is None or not path.is_file():
        raise NotFoundError(_("This file is not here, or not any more."))
    return FileResponse(path, media_type=media_type, headers={"content-disposition": disposition(name)})
