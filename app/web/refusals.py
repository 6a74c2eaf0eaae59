"""The one shape of a refusal in JSON, `ErrorOut` of app/web/api/schemas.py, and the header that goes with a 429."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse, Response

from app.domain.errors import DomainError, TooManyError


def as_json(status: int, message: str, field: str = "", fields: Mapping[str, str] | None = None) -> JSONResponse:
    """The refusal."""
    said = {"status": status, "message": message, "field": field, "fields": dict(fields or {})}
    return JSONResponse({"error": said}, status)


def until_then(response: Response, exc: DomainError) -> Response:
    """With the seconds after which it may go, where it was too much at a time."""
    if isinstance(exc, TooManyError):
        response.headers["retry-after"] = str(exc.retry_after)
    return response
