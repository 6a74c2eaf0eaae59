"""What routes ask for: the context, a session that is one transaction, and a small form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Path, Request
from sqlmodel import Session
from starlette.datastructures import FormData

from app.core.context import Context
from app.domain.errors import InvalidError
from app.domain.users.access import Actor
from app.web.bodies import is_upload, read_body
from app.web.doors import actor_of, request_session
from app.web.guard import SAFE_METHODS

MAX_ID = 2**31 - 1  # what both databases hold
#: A row's number in a path: anything else is no address of ours.
Id = Annotated[int, Path(ge=1, le=MAX_ID)]


def get_context(request: Request) -> Context:
    """The context of this web process."""
    context: Context = request.app.state.ctx
    return context


ContextDep = Annotated[Context, Depends(get_context)]


async def _whole(request: Request) -> None:
    if request.method not in SAFE_METHODS and not is_upload(request):
        await read_body(request)


def get_session(request: Request, _read: Annotated[None, Depends(_whole)]) -> Iterator[Session]:
    """One transaction for this request, opened when its body is here, which sees what its sender may see.

    A writer says so at its start.
    """
    with request_session(request, write=request.method not in SAFE_METHODS) as session:
        yield session


# scope="function": committed before the answer is sent, so that the GET after a redirect finds the row.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]


async def get_form(request: Request) -> FormData:
    """The fields of a url-encoded form of at most a megabyte; files have a road of their own (`upload`)."""
    try:
        body = "" if is_upload(request) else (await read_body(request)).decode()
        fields = parse_qsl(body, keep_blank_values=True, max_num_fields=500)
    except ValueError as exc:
        raise InvalidError("This form could not be read. Go back and send it again.") from exc
    if any("\x00" in part for field in fields for part in field):  # Postgres stores none
        raise InvalidError("This form holds characters that can't be stored. Go back and send it without them.")
    return FormData([(name, value) for name, value in fields])


FormDep = Annotated[FormData, Depends(get_form)]


def get_actor(request: Request) -> Actor:
    """Who sent the request, where the table of permissions lets nobody else in."""
    actor = actor_of(request)
    assert actor is not None
    return actor


ActorDep = Annotated[Actor, Depends(get_actor)]


def text(form: FormData, name: str, default: str = "") -> str:
    """One text field, stripped."""
    value = form.get(name, default)
    return value.strip() if isinstance(value, str) else default
