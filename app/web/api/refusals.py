"""What every call may answer beside what it is for, as the OpenAPI document tells it."""

from __future__ import annotations

from typing import Any

from app.web.api.schemas import ErrorOut

Responses = dict[int | str, dict[str, Any]]


def refused(status: int, why: str) -> Responses:
    """One refusal, for a route's `responses`."""
    return {status: {"model": ErrorOut, "description": why}}


EVERYWHERE = (
    refused(400, "The address or the body can't be read at all")
    | refused(401, "There are accounts here, and no valid token was sent")
    | refused(403, "The request came from another site, or this is not for you or your token to do")
    | refused(404, "There is nothing at this address")
    | refused(413, "The body holds more than a megabyte")
    | refused(421, "The Host is none that is answered to")
    | refused(422, "Something in it is wrong")
    | refused(429, "Too much at a time; `Retry-After` says when it may go")
)
