"""One row of a data set: the conversation, and its tokens as training will have them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from sqlmodel import Session
from starlette.responses import Response

from app.core.context import Context
from app.domain.datasets import audits, service
from app.domain.datasets.models import Dataset
from app.domain.errors import InvalidError, NotFoundError
from app.domain.models.catalogue import check_model, check_revision, offered
from app.web.deps import ContextDep, FormDep, Id, SessionDep, get_actor, text
from app.web.render import page, see_other
from app.web.render import translate as _
from app.web.views.datasets import row_view
from app.web.views.token_rows import TokenView, token_view

router = APIRouter()
#: From 1 on, as a person counts.
RowNumber = Annotated[int, Path(ge=1, le=2**31 - 1)]
Length = Annotated[int, Query(ge=0, le=262_144)]
Model = Annotated[str, Query(max_length=500)]
Revision = Annotated[str, Query(max_length=100)]


@router.get("/datasets/{dataset_id}/rows/{number}")
def row_page(
    request: Request,
    session: SessionDep,
    ctx: ContextDep,
    dataset_id: Id,
    number: RowNumber,
    model: Model = "",
    revision: Revision = "",
    length: Length = 0,
) -> Response:
    """A row, and its tokens for `model` where they were asked for; beyond `length` they are cut."""
    dataset = service.get_dataset(session, dataset_id)
    found = service.preview_rows(ctx.storage, dataset, number - 1, 1) if number <= dataset.row_count else []
    if not found:
        raise NotFoundError(_("This data set has no row %(n)s.", n=number))
    return page(
        request,
        "datasets/row.html",
        dataset=dataset,
        mine=get_actor(request).owns(dataset.owner_id),
        row=row_view(number - 1, found[0]),
        model=model,
        revision=revision,
        length=length,
        models=[(o.model.hub_id, o.model.title, False) for o in offered(ctx.settings) if not o.why_not],
        tokens=_tokens(session, ctx, dataset, number, (model, revision), length),
    )


def _tokens(
    session: Session, ctx: Context, dataset: Dataset, number: int, of: tuple[str, str], length: int
) -> TokenView | None:
    """`of`: a model, and its revision."""
    model, revision = of
    if not model or check_model(ctx.settings, model) or check_revision(revision):
        return None
    job = audits.find_rows(session, dataset, model, number, revision)
    return token_view(job, number, length) if job else None


@router.post("/datasets/{dataset_id}/rows/{number}")
def ask(
    request: Request, session: SessionDep, ctx: ContextDep, dataset_id: Id, number: RowNumber, form: FormDep
) -> Response:
    """Bring the row into tokens; its neighbours come along."""
    base_model, revision = text(form, "base_model"), text(form, "revision")
    length = text(form, "max_seq_length")
    for field, refusal in (
        ("base_model", check_model(ctx.settings, base_model)),
        ("revision", check_revision(revision)),
    ):
        if refusal:
            raise InvalidError(refusal, field=field)
    audits.request_rows(session, ctx.bells, dataset_id, base_model, number, revision)
    cut = length if length.isascii() and length.isdigit() and len(length) < 7 else "0"
    wish = {"model": base_model, "length": min(int(cut), 262_144)} | ({"revision": revision} if revision else {})
    address = request.url.replace(query="").include_query_params(**wish)
    return see_other(request, f"{address.path}?{address.query}")
