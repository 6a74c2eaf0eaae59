"""Data sets: list, upload, what was understood, and what to do about problems."""

from __future__ import annotations

from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from sqlmodel import Session
from starlette.responses import Response

from app.core.context import Context
from app.domain.datasets import audits as asked
from app.domain.datasets import service, versions
from app.domain.datasets.models import Dataset
from app.domain.errors import DomainError, InvalidError
from app.domain.jobs import service as jobs
from app.domain.jobs.states import JobKind
from app.domain.models.catalogue import check_model, offered
from app.web.arrivals import Arrived, check_room, check_size, keep
from app.web.deps import ActorDep, ContextDep, FormDep, Id, SessionDep, get_context, text
from app.web.errors import wants_json
from app.web.incoming import Received, receive
from app.web.refusals import as_json, until_then
from app.web.render import page, see_other
from app.web.render import translate as _
from app.web.views.audits import audit_view
from app.web.views.datasets import DatasetView, dataset_view, first_look, problem_view, row_view
from app.web.views.owners import owner_words
from app.web.views.sources import new_page
from app.web.views.versions import version_lines

router = APIRouter()
#: What the form around a file may weigh.
FORM_OVERHEAD = 20_000
ROWS_A_PAGE, PROBLEMS_A_PAGE = 10, 50
Offset = Annotated[int, Query(ge=0, le=10**12)]
Code = Annotated[str, Query(max_length=50)]


@router.get("/datasets")
def list_page(request: Request, session: SessionDep) -> Response:
    """All data sets."""
    return page(request, "datasets/list.html", datasets=dataset_views(session))


def dataset_views(session: Session) -> list[DatasetView]:
    """All data sets, each in its newest version with its newest check: two queries, however many there are."""
    intakes = {job.subject_id: job for job in reversed(jobs.list_jobs(session, kinds=(JobKind.INTAKE,), limit=500))}
    newest, _earlier = versions.newest_first(service.list_datasets(session))
    return [dataset_view(dataset, intakes.get(dataset.id or 0)) for dataset in newest]


@router.get("/datasets/new")
def upload_page(request: Request, ctx: ContextDep) -> Response:
    """All the ways in."""
    return new_page(request, ctx)


@router.post("/datasets")
async def upload(request: Request) -> Response:
    """Take a file off the wire and lead to its page. The same for the plain form (303) and a script (JSON)."""
    ctx = get_context(request)
    length = request.headers.get("content-length", "")
    size = int(length) if length.isascii() and length.isdigit() else 0
    try:
        check_size(ctx, size - FORM_OVERHEAD)
        check_room(ctx, 2 * size)
        received = await receive(request, ctx.storage, max_bytes=ctx.settings.web.max_upload_bytes)
        arrived = await anyio.to_thread.run_sync(_keep, request, ctx, received)
    except DomainError as exc:
        return await anyio.to_thread.run_sync(_refuse, request, ctx, exc)
    return arrived.as_json() if wants_json(request) else see_other(request, arrived.location, arrived.said, "")


def _keep(request: Request, ctx: Context, received: Received) -> Arrived:
    try:
        return keep(request, ctx, received)
    finally:
        ctx.storage.discard(received.key)


def _refuse(request: Request, ctx: Context, exc: DomainError) -> Response:
    if wants_json(request):
        return until_then(as_json(exc.status, exc.message, exc.field), exc)
    return until_then(new_page(request, ctx, {"file": exc.message}, status_code=exc.status), exc)


@router.get("/datasets/{dataset_id}")
def detail_page(
    request: Request,
    session: SessionDep,
    ctx: ContextDep,
    actor: ActorDep,
    dataset_id: Id,
    row: Offset = 0,
    problem: Offset = 0,
    code: Code = "",
) -> Response:
    """What was understood of a file, its conversations, its problems, its audits."""
    dataset = service.get_dataset(session, dataset_id)
    return page(
        request,
        "datasets/detail.html",
        mine=actor.owns(dataset.owner_id),
        owner=owner_words(session, ctx, actor, dataset.owner_id, shared=dataset.shared),
        **_detail(session, ctx, dataset, row),
        **_problems(session, dataset, problem, code),
    )


def _detail(session: Session, ctx: Context, dataset: Dataset, row: int) -> dict[str, Any]:
    dataset_id = dataset.id or 0
    intake = next(iter(jobs.list_jobs(session, kinds=(JobKind.INTAKE,), subject_id=dataset_id, limit=1)), None)
    audits = asked.list_audits(session, dataset)
    uses = service.trainings(session, dataset_id)
    uploaded = versions.file_of(session, dataset)
    rows = service.preview_rows(ctx.storage, dataset, row, ROWS_A_PAGE)
    return {
        "dataset": dataset_view(dataset, intake),
        "look": first_look(ctx.storage, dataset) if not dataset.rows_key and dataset.source_key else None,
        "lineage": version_lines(session, dataset),
        "rows": [row_view(number, canonical) for number, canonical in enumerate(rows, start=row)],
        "row_start": row,
        "rows_a_page": ROWS_A_PAGE,
        "audits": [audit_view(job) for job in audits],
        "audit_models": [(o.model.hub_id, o.model.title, False) for o in offered(ctx.settings) if not o.why_not],
        "uses": uses,
        "uploaded": uploaded,
    }


def _problems(session: Session, dataset: Dataset, start: int, code: str) -> dict[str, Any]:
    found = service.problems(session, dataset.id or 0, PROBLEMS_A_PAGE, start, code)
    codes = dataset.stats.get("codes", {})
    return {
        "problems": [problem_view(problem) for problem in found],
        "problem_start": start,
        "problems_a_page": PROBLEMS_A_PAGE,
        "problem_code": code,
        "problem_codes": codes if len(codes) > 1 else {},
        "problem_total": codes.get(code, 0) if code else dataset.problem_count,
    }


@router.post("/datasets/{dataset_id}/accept")
def accept(request: Request, session: SessionDep, dataset_id: Id) -> Response:
    """Go on with the good rows."""
    service.accept_good_rows(session, dataset_id)
    return see_other(request, f"/datasets/{dataset_id}", _("Going on with the good rows."))


@router.post("/datasets/{dataset_id}/rename")
def rename(request: Request, session: SessionDep, dataset_id: Id, form: FormDep) -> Response:
    """Another name."""
    service.rename(session, dataset_id, text(form, "name"))
    return see_other(request, f"/datasets/{dataset_id}", _("Renamed."))


@router.post("/datasets/{dataset_id}/share")
def share(request: Request, session: SessionDep, ctx: ContextDep, dataset_id: Id, form: FormDep) -> Response:
    """Let everybody see it, or nobody but its owner."""
    shared = text(form, "shared") == "yes"
    service.share(session, ctx.bells, dataset_id, shared=shared)
    said = _("Everybody who signs in may see it now, and train on it.") if shared else _("It is yours alone again.")
    return see_other(request, f"/datasets/{dataset_id}", said)


@router.post("/datasets/{dataset_id}/audit")
def audit(request: Request, session: SessionDep, ctx: ContextDep, dataset_id: Id, form: FormDep) -> Response:
    """Look at the rows as a model's tokenizer sees them."""
    base_model = text(form, "base_model")
    refusal = check_model(ctx.settings, base_model)
    if refusal:
        raise InvalidError(refusal, field="base_model")
    asked.request_audit(session, ctx.bells, dataset_id, base_model)
    return see_other(request, f"/datasets/{dataset_id}#audits", _("The audit is on its way."))


@router.post("/datasets/{dataset_id}/delete")
def delete(request: Request, session: SessionDep, ctx: ContextDep, dataset_id: Id, form: FormDep) -> Response:
    """Forget the data set: this version, or all of them. One that a job uses keeps them all."""
    dataset = service.get_dataset(session, dataset_id)
    found = service.family(session, dataset)
    gone = found if text(form, "what") == "all" else [dataset]
    left = [each for each in found if each not in gone]
    for each in sorted(gone, key=lambda each: -each.version):
        service.delete_dataset(session, ctx.bells, each.id or 0)
    said = _("“%(name)s” was deleted.", name=dataset.name if not left else dataset.title)
    return see_other(request, f"/datasets/{left[0].id}" if left else "/datasets", said)
