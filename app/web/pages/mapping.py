"""How a data set's file is read: looked at, tried on three rows, chosen; and its problems as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from app.core.context import Context
from app.domain.datasets import rereading, service
from app.domain.datasets.models import Dataset, DatasetProblem
from app.domain.errors import InvalidError
from app.web.deps import ContextDep, FormDep, Id, SessionDep
from app.web.downloads import disposition
from app.web.render import page, see_other
from app.web.render import translate as _
from app.web.views.mappings import MappingForm, current, format_options, typed

router = APIRouter(prefix="/datasets/{dataset_id}")
_HEAD = ("line", "offset", "code", "problem", "excerpt")


@router.get("/mapping")
def mapping_page(request: Request, session: SessionDep, ctx: ContextDep, dataset_id: Id) -> Response:
    """How the file is read now."""
    dataset = service.get_dataset(session, dataset_id)
    return _form(request, dataset, _current(session, ctx, dataset))


def _current(session: SessionDep, ctx: Context, dataset: Dataset) -> MappingForm:
    return current(ctx.storage, dataset, rereading.newest_intake(session, dataset.id or 0))


def _form(request: Request, dataset: Dataset, form: MappingForm, status_code: int = 200) -> Response:
    formats = format_options()
    return page(request, "datasets/mapping.html", status_code=status_code, dataset=dataset, form=form, formats=formats)


@router.post("/mapping/preview")
def preview(request: Request, session: SessionDep, ctx: ContextDep, dataset_id: Id, fields: FormDep) -> Response:
    """The form as it is typed now, with its three rows."""
    dataset = service.get_dataset(session, dataset_id)
    return _form(request, dataset, typed(fields, _current(session, ctx, dataset)))


@router.post("/mapping")
def choose(request: Request, session: SessionDep, ctx: ContextDep, dataset_id: Id, fields: FormDep) -> Response:
    """Read the file so."""
    dataset = service.get_dataset(session, dataset_id)
    form = typed(fields, _current(session, ctx, dataset))
    try:
        kind = rereading.checked_format(form.kind)
        job = rereading.read_again(session, ctx.bells, dataset_id, kind, form.mapping, form.pairs)
    except InvalidError as exc:
        form.errors[exc.field or "format"] = exc.message
        return _form(request, dataset, form, exc.status)
    return see_other(request, f"/datasets/{job.subject_id}", _("The file is read again."))


@router.get("/problems.csv")
def problems_csv(session: SessionDep, dataset_id: Id) -> Response:
    """The problems that are kept, as a table for a spreadsheet."""
    name = service.get_dataset(session, dataset_id).name
    found = service.problems(session, dataset_id, limit=100_000)
    headers = {"content-disposition": disposition(f"problems of {name}.csv")}
    return StreamingResponse(_rows(found), media_type="text/csv", headers=headers)


def _rows(found: list[DatasetProblem]) -> Iterator[str]:
    yield _line(_HEAD)
    for each in found:
        yield _line((each.line, each.offset, each.code, _inert(each.message), _inert(each.excerpt)))


def _line(cells: tuple[object, ...]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue()


def _inert(text: str) -> str:
    """A spreadsheet takes a cell that begins so as a formula."""
    return f"'{text}" if text.lstrip()[:1] in {"=", "+", "-", "@"} or text[:1] in {"\t", "\r"} else text
