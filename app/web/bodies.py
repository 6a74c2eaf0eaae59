"""What a form or a JSON call sends: read whole, and bounded, before anything else is held for it."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.domain.errors import DomainError, InvalidError, TooLargeError

MAX_FORM_BYTES = 1_000_000
_TOO_MUCH = "This holds more than 1 MB. Shorten the questions."


async def read_body(request: Request) -> bytes:
    """The body, of at most a megabyte.

    A transaction that writes waits for this: opened before, it would keep every other writer out for as long as a
    slow sender takes.
    """
    if not hasattr(request.state, "body"):
        request.state.body = await _read(request)
    whole: bytes = request.state.body
    return whole


async def _read(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FORM_BYTES:
                raise TooLargeError(_TOO_MUCH)
    except ClientDisconnect as exc:
        raise InvalidError("What was sent broke off before its end.") from exc
    return bytes(body)


def is_upload(request: Request) -> bool:
    """Whether a file may follow, which has a road of its own (app/web/incoming.py)."""
    return request.headers.get("content-type", "").lower().startswith("multipart/")


class StrictRequest(Request):
    """JSON as RFC 8259 has it, without what only Python reads, or what a database can't keep."""

    async def body(self) -> bytes:
        """Whole and bounded."""
        try:
            return await read_body(self)
        except DomainError as exc:  # of any other class FastAPI would make a 400
            raise HTTPException(exc.status, exc.message) from exc

    async def json(self) -> Any:
        """Raises `JSONDecodeError`, which is told as 422."""
        try:
            found = json.loads((await self.body()).decode(), parse_constant=_refuse, object_pairs_hook=_object)
            _check_texts(found)
        except json.JSONDecodeError:
            raise
        # Bytes that are no text, a number of 5,000 digits, 100,000 brackets.
        except (ValueError, RecursionError) as exc:
            raise json.JSONDecodeError(f"This is no JSON that can be read: {exc}", "", 0) from exc
        return found


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _check_texts(value: Any) -> None:
    """No NUL, which Postgres does not store, and no half of a surrogate pair, which no answer could hold."""
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError("a text holds a NUL character")
        value.encode()
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_texts(name)
            _check_texts(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_texts(inner)
