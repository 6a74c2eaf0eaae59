"""What every call may answer beside what it is for, as the OpenAPI document tells it."""

from __future__ import annotations

from typing import Any

from app.web.api.schemas import ErrorOut

Responses = dict[int | str, dict[str, Any]]
_WHEN = {"description": "Seconds to wait", "required": True, "schema": {"type": "integer", "minimum": 1}}
_HOW = {"description": "`Bearer`: send a token", "required": True, "schema": {"type": "string"}}


def refused(status: int, why: str, **headers: Any) -> Responses:
    """One refusal, for a route's `responses`; `_` in a header's name is a dash."""
    told = {name.replace("_", "-"): header for name, header in headers.items()}
    return {status: {"model": ErrorOut, "description": why} | ({"headers": told} if told else {})}


EVERYWHERE = (
    refused(400, "The address or the body can't be read at all")
    | refused(401, "There are accounts here, and no valid token was sent", WWW_Authenticate=_HOW)
    | refused(403, "The request came from another site, or this is not for you or your token to do")
    | refused(404, "There is nothing at this address")
    | refused(413, "The body holds more than a megabyte")
    | refused(421, "The Host is none that is answered to")
    | refused(422, "Something in it is wrong")
    | refused(429, "Too much at a time; `Retry-After` says when it may go", Retry_After=_WHEN)
)
