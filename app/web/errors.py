"""The one table that turns an exception into a page, a fragment or JSON."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.core.storage import KeyOutsideRootError, StorageError
from app.domain.errors import DomainError, InvalidError, SignInError
from app.web.guard import SECURITY_HEADERS
from app.web.language import said
from app.web.refusals import as_json, until_then
from app.web.render import came_from, is_partial, refusal, see_other
from app.web.render import translate as _

log = logging.getLogger(__name__)
TITLES = {
    400: "That did not work",
    404: "Not found",
    405: "That did not work",
    409: "That can't be done now",
    413: "Too large",
    422: "Something is wrong with that",
    500: "Something broke",
    503: "The storage does not answer",
    507: "The disk is full",
}


def wants_json(request: Request) -> bool:
    """Whether the caller asked for JSON rather than a page."""
    accept = request.headers.get("accept", "")
    return request.url.path.startswith("/api/") or ("application/json" in accept and "text/html" not in accept)


def show(
    request: Request,
    status: int,
    message: str,
    *,
    field: str = "",
    fields: Mapping[str, str] | None = None,
    details: str = "",
) -> Response:
    """The error as the caller can read it."""
    if wants_json(request):
        return as_json(status, message, field, fields)
    title, message = said(TITLES.get(status, TITLES[400])), said(message)
    back = _back(request) if status != 404 else ""
    return refusal(request, status, title=title, message=message, advice="", details=details, back=back)


def _back(request: Request) -> str:
    """The page of ours whose form or link led here."""
    came = came_from(request)
    return "" if came.partition("?")[0] == request.url.path else came


def _domain(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, DomainError)
    fields = exc.errors if isinstance(exc, InvalidError) else {}
    if isinstance(exc, SignInError) and not _is_for_a_program(request):
        return _to_sign_in(request)
    response = show(request, exc.status, exc.message, field=exc.field, fields=fields)
    if isinstance(exc, SignInError):
        response.headers["www-authenticate"] = "Bearer"
    return until_then(response, exc)


def _is_for_a_program(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return wants_json(request) or "text/event-stream" in accept or "authorization" in request.headers


def _to_sign_in(request: Request) -> Response:
    """Where somebody signs in, and comes back from to the page that was asked for."""
    asked = request.url.path if request.method == "GET" and not is_partial(request) else ""
    if asked and request.url.query:
        asked += f"?{request.url.query}"
    there = "/sign-in" + (f"?{urlencode({'next': asked})}" if asked not in {"", "/"} else "")
    return see_other(request, there)


def _http(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    known = {404: _("There is nothing at this address."), 405: _("This address does not take that kind of request.")}
    return show(request, exc.status_code, known.get(exc.status_code, str(exc.detail)))


def _invalid(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    if any(error["loc"][0] == "path" for error in exc.errors()):
        return show(request, 404, _("There is nothing at this address."))
    fields = {".".join(str(part) for part in error["loc"][1:]): str(error["msg"]) for error in exc.errors()}
    return show(request, 422, _("A part of this address or form can't be read. Go back and try again."), fields=fields)


def _outside(request: Request, _exc: Exception) -> Response:
    return show(request, 404, _("There is no such file."))


def _away(request: Request, exc: Exception) -> Response:
    return show(request, 503, _("%(problem)s Try again in a moment.", problem=str(exc)))


def _bug(request: Request, exc: Exception) -> Response:
    reference = secrets.token_hex(4)
    log.error("Error %s at %s %s", reference, request.method, request.url.path, exc_info=exc)
    told = _(
        "Something broke on the server. What you asked for was not done. The log tells more under %(ref)s.",
        ref=reference,
    )
    response = show(request, 500, told)
    response.headers.update(SECURITY_HEADERS)  # this answer is made outside the guard
    return response


def install(app: FastAPI) -> None:
    """Every exception a route may raise has its handler here."""
    app.add_exception_handler(DomainError, _domain)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(KeyOutsideRootError, _outside)
    app.add_exception_handler(StorageError, _away)
    app.add_exception_handler(Exception, _bug)
