"""Storage: what takes space, what can go and what that means, and how long checkpoints are kept."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import ValidationError
from sqlmodel import Session
from starlette.responses import Response

from app.core.context import Context
from app.domain.jobs import retention
from app.domain.preferences import service as preferences
from app.domain.preferences.service import Retention
from app.domain.space import removal
from app.domain.space.usage import usage
from app.web import filters
from app.web.deps import ContextDep, FormDep, Id, SessionDep, text
from app.web.doors import tell
from app.web.render import page, see_other
from app.web.render import translate as _
from app.web.views.space import space_view

router = APIRouter(prefix="/storage")
Folder = Annotated[str, Path(max_length=250)]
BY_HAND = "Its checkpoints were removed on the Storage page."


@router.get("")
def show(request: Request, session: SessionDep, ctx: ContextDep) -> Response:
    """What takes space, the largest first."""
    return _page(request, session, ctx)


def _page(
    request: Request, session: Session, ctx: Context, errors: dict[str, str] | None = None, **typed: str
) -> Response:
    rules = preferences.read(session, Retention)
    days = {name: "" if value is None else str(value) for name, value in rules.model_dump().items()}
    return page(
        request,
        "storage/storage.html",
        status_code=422 if errors else 200,
        space=space_view(usage(ctx, session), retention.removable(session), shared=ctx.storage.remote),
        days=days | typed,
        errors=errors or {},
        offline=ctx.settings.hub.offline,
    )


@router.post("/rules")
def set_rules(request: Request, session: SessionDep, ctx: ContextDep, form: FormDep) -> Response:
    """Keep for how long checkpoints are kept."""
    typed = {name: text(form, name) for name in Retention.model_fields}
    try:
        chosen = Retention.model_validate({name: value or None for name, value in typed.items()})
    except ValidationError as exc:
        said = _("Write whole days, such as 7; 0 for at once, empty for good.")
        return _page(request, session, ctx, {str(error["loc"][0]): said for error in exc.errors()}, **typed)
    preferences.write(session, chosen)
    return see_other(request, "/storage#rules", _("The rules were saved. What is older goes within a minute or so."))


@router.post("/checkpoints")
def remove_all(request: Request, ctx: ContextDep) -> Response:
    """Remove every checkpoint of jobs that have ended."""
    with ctx.db.session() as session:
        found = retention.removable(session)
    tell(request)
    size = sum(retention.remove_checkpoints(ctx, job_id, BY_HAND) for job_id in found)
    said = _("Checkpoints of %(n)s jobs were removed: %(size)s.", n=len(found), size=filters.filesize(size))
    return see_other(request, "/storage", said)


@router.post("/jobs/{job_id}/checkpoints")
def remove_checkpoints(request: Request, ctx: ContextDep, job_id: Id) -> Response:
    """Remove the checkpoints of one job that has ended."""
    size = retention.remove_checkpoints(ctx, job_id, BY_HAND)
    tell(request)
    return see_other(request, "/storage", _("Its checkpoints were removed: %(size)s.", size=filters.filesize(size)))


@router.post("/jobs/{job_id}/merged")
def remove_merged(request: Request, ctx: ContextDep, job_id: Id) -> Response:
    """Remove a merged model that is kept for further exports."""
    removal.remove_merged(ctx, job_id)
    tell(request)
    return see_other(request, "/storage", _("The merged model was removed."))


@router.post("/exports/{artifact_id}")
def remove_export(request: Request, ctx: ContextDep, artifact_id: Id) -> Response:
    """Remove one export."""
    gone = removal.remove_export(ctx, artifact_id)
    tell(request)
    return see_other(request, "/storage", _("The export was removed: %(size)s.", size=filters.filesize(gone.size)))


@router.post("/models/{folder}")
def remove_model(request: Request, ctx: ContextDep, folder: Folder) -> Response:
    """Remove a base model from this machine."""
    removal.remove_model(ctx, folder)
    tell(request)
    return see_other(request, "/storage", _("The base model was removed from this machine."))
