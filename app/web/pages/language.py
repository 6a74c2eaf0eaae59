"""The switch of the language."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.web.deps import FormDep, text
from app.web.language import COOKIE, LANGUAGES
from app.web.render import came_from, see_other

router = APIRouter()
_YEAR = 365 * 24 * 3600


@router.post("/language")
def choose(request: Request, form: FormDep) -> Response:
    """Remember the language in this browser, and show the page again."""
    response = see_other(request, came_from(request) or "/")
    chosen = text(form, "language")
    if chosen in LANGUAGES:
        response.set_cookie(COOKIE, chosen, max_age=_YEAR, httponly=True, samesite="lax", path="/")
    return response
