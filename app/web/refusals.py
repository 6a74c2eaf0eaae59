"""The one shape of a refusal in JSON: `ErrorOut` of app/web/api/schemas.py."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse


def as_json(status: int, message: str, field: str = "", fields: Mapping[str, str] | None = None) -> JSONResponse:
    """The refusal."""
    said = {"status": status, "message": message, "field": field, "fields": dict(fields or {})}
    return JSONResponse({"error": said}, status)
