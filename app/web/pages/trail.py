"""The audit log: who did what, when, from where. For administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.domain.trail import service
from app.domain.users import service as users
from app.web.deps import MAX_ID, SessionDep
from app.web.permissions import PERMISSIONS
from app.web.render import page
from app.web.views.people import entry_row

router = APIRouter(prefix="/settings/log")
_PAGE_SIZE = 100


@router.get("")
def show(
    request: Request,
    session: SessionDep,
    kind: Annotated[str, Query(max_length=40)] = "",
    who: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
    before: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
) -> Response:
    """The newest first."""
    found = service.entries(session, limit=_PAGE_SIZE + 1, before=before or None, action=kind, user_id=who or None)
    kinds = sorted({rule.action.partition(".")[0] for rule in PERMISSIONS.values() if rule.action})
    return page(
        request,
        "people/log.html",
        rows=[entry_row(entry) for entry in found[:_PAGE_SIZE]],
        next=found[_PAGE_SIZE - 1].id if len(found) > _PAGE_SIZE else 0,
        before=before,
        kinds=kinds,
        kind=kind,
        who=who,
        people=[(user.id, user.name) for user in users.list_users(session)],
    )
