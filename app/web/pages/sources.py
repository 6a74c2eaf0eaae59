"""Data sets from elsewhere: from the Hub, and from addresses where the settings allow it. A worker fetches them."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import JSONResponse, Response

from app.core.context import Context
from app.domain.datasets import origins
from app.domain.datasets.models import Dataset
from app.domain.errors import InvalidError
from app.web.deps import ContextDep, FormDep, Id, SessionDep, text
from app.web.doors import about
from app.web.errors import wants_json
from app.web.render import see_other
from app.web.render import translate as _
from app.web.views.sources import new_page

router = APIRouter()
_FIELDS = ("repo_id", "config", "split", "revision", "source_url")


@router.post("/datasets/hub")
def from_hub(request: Request, session: SessionDep, ctx: ContextDep, form: FormDep) -> Response:
    """Fetch a data set of the Hub."""

    def make() -> Dataset:
        return origins.from_hub(
            session,
            ctx.bells,
            ctx.settings,
            repo_id=text(form, "repo_id"),
            config=text(form, "config"),
            split=text(form, "split"),
            revision=text(form, "revision"),
        )

    return _made(request, ctx, form, make)


@router.post("/datasets/url")
def from_url(request: Request, session: SessionDep, ctx: ContextDep, form: FormDep) -> Response:
    """Fetch the file at an address."""
    return _made(
        request, ctx, form, lambda: origins.from_url(session, ctx.bells, ctx.settings, text(form, "source_url"))
    )


def _made(request: Request, ctx: Context, form: FormData, make: Callable[[], Dataset]) -> Response:
    try:
        dataset = make()
    except InvalidError as exc:
        if wants_json(request):
            raise
        given = {name: text(form, name) for name in _FIELDS}
        return new_page(request, ctx, exc.errors, given, exc.status)
    location = f"/datasets/{dataset.id}"
    about(request, f"dataset {dataset.id} “{dataset.name}”", source=dataset.origin["kind"])
    if wants_json(request):
        return JSONResponse({"location": location}, 201, {"location": location})
    return see_other(request, location)


@router.post("/datasets/{dataset_id}/part")
def choose(request: Request, session: SessionDep, ctx: ContextDep, dataset_id: Id, form: FormDep) -> Response:
    """Fetch this one of its parts."""
    number = text(form, "number")
    origins.choose_part(session, ctx.bells, dataset_id, int(number) if number.isascii() and number.isdigit() else -1)
    return see_other(request, f"/datasets/{dataset_id}")


@router.post("/datasets/{dataset_id}/fetch")
def fetch_again(request: Request, session: SessionDep, ctx: ContextDep, dataset_id: Id) -> Response:
    """Try once more."""
    origins.fetch_again(session, ctx.bells, dataset_id)
    return see_other(request, f"/datasets/{dataset_id}", _("It is being fetched again."))
