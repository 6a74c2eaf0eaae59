"""Signing in and out, and the links that are good once: for the first administrator, and to set a password."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from app.core.context import Context
from app.domain.errors import InvalidError, NotFoundError, TooManyError
from app.domain.trail import service as trail
from app.domain.users import links, passwords, service, sessions
from app.domain.users.access import Actor, Role
from app.domain.users.models import User
from app.web.deps import ContextDep, FormDep, SessionDep, text
from app.web.doors import address_of, cookie_name, on_tls, request_session, visit_of
from app.web.refusals import until_then
from app.web.render import page, see_other
from app.web.render import translate as _

router = APIRouter()
_WRONG = "The name or the password is not right."


@router.get("/sign-in")
def show(request: Request, session: SessionDep, ctx: ContextDep) -> Response:
    """The form; home for who is signed in already."""
    if not ctx.settings.web.accounts or visit_of(request).actor is not None:
        return see_other(request, "/")
    return _form(request, session, request.query_params.get("next", ""))


def _form(
    request: Request, session: Session, onward: str, name: str = "", error: str = "", status_code: int = 200
) -> Response:
    return page(
        request,
        "people/sign_in.html",
        status_code=status_code,
        onward=onward if is_ours(onward) else "",
        name=name[:100],
        error=error,
        ready=service.has_administrator(session),
    )


def is_ours(path: str) -> bool:
    """Whether a path leads to a page of this very site, and cannot be read as an address elsewhere."""
    if not re.fullmatch(r"/[\x21-\x7e]{0,1000}", path) or path.startswith("//") or "\\" in path:
        return False
    parts = urlsplit(path)
    return not parts.scheme and not parts.netloc


@router.post("/sign-in")
def sign_in(request: Request, ctx: ContextDep, form: FormDep) -> Response:
    """Let somebody in who knows the password. It is looked at while no transaction is open, for that takes its time."""
    _need_accounts(ctx)
    name, onward, address = text(form, "name"), text(form, "next"), address_of(request)
    try:
        with request_session(request, write=True) as session:
            user_id, stored = service.password_of(session, name, address)
        found, better = passwords.matches(str(form.get("password", "")), stored)
    except TooManyError as exc:
        return _wait(request, exc, onward, name)
    with request_session(request, write=True) as session:
        user = service.signed_in(session, user_id, stored, name, address, better) if found else None
        if user is None:
            _tell(session, request, service.find(session, name), trail.REFUSED)
            return _form(request, session, onward, name, _(_WRONG), 401)
        _tell(session, request, user)
        return _let_in(request, session, ctx, user, onward)


def _wait(request: Request, exc: TooManyError, onward: str, name: str) -> Response:
    with request_session(request, write=False) as session:
        return until_then(_form(request, session, onward, name, exc.message, exc.status), exc)


def _need_accounts(ctx: Context) -> None:
    if not ctx.settings.web.accounts:
        raise NotFoundError("There are no accounts here: this installation is for one person on this machine.")


def _tell(session: Session, request: Request, user: User | None, outcome: str = "done") -> None:
    """What was typed as a name stays out of the log: it may be a password."""
    trail.record(session, None, "account.sign_in", user=user, address=address_of(request), outcome=outcome)


def _let_in(request: Request, session: Session, ctx: Context, user: User, onward: str) -> Response:
    """With a cookie that nobody knew before; the one that the browser had counts no more."""
    name, web = cookie_name(request), ctx.settings.web
    if old := request.cookies.get(name):
        sessions.end(session, old)
    browser = request.headers.get("user-agent", "")
    value = sessions.start(session, user, days=web.sign_in_days, address=address_of(request), browser=browser)
    response = see_other(request, onward if is_ours(onward) else "/")
    response.set_cookie(
        name,
        value,
        max_age=web.sign_in_days * 86_400,
        httponly=True,
        samesite="lax",
        secure=on_tls(request),
        path="/",
    )
    return response


@router.post("/sign-out")
def sign_out(request: Request, session: SessionDep) -> Response:
    """Forget this browser."""
    name = cookie_name(request)
    if value := request.cookies.get(name):
        sessions.end(session, value)
    response = see_other(request, "/sign-in")
    response.delete_cookie(name, path="/", secure=on_tls(request), httponly=True, samesite="lax")
    return response


@router.get("/welcome")
def welcome(request: Request, session: SessionDep, ctx: ContextDep, key: str = "") -> Response:
    """Where a link that is good once leads."""
    _need_accounts(ctx)
    return _welcome(request, session, key)


def _welcome(
    request: Request, session: Session, key: str, name: str = "", errors: dict[str, str] | None = None
) -> Response:
    link = links.look_up(session, key)
    user = service.get(session, link.user_id) if link.user_id else None
    return page(
        request,
        "people/welcome.html",
        status_code=422 if errors else 200,
        key=key,
        user=user,
        name=name,
        errors=errors or {},
    )


@router.post("/welcome")
def set_password(request: Request, ctx: ContextDep, form: FormDep) -> Response:
    """Set the password, and let them in."""
    _need_accounts(ctx)
    key, name, password = text(form, "key"), text(form, "name"), str(form.get("password", ""))
    with ctx.db.session() as session:
        whose = links.name_of(session, key)
    try:
        same_twice(password, str(form.get("again", "")))
        passwords.check_new(password, whose or name)
        password_hash = passwords.hashed(password)
        with request_session(request, write=True) as session:
            user = links.use(session, key, name, password_hash)
            actor = Actor(user.id, user.name, Role(user.role))
            trail.record(session, actor, "account.password", address=address_of(request), subject="by a one-time link")
            return _let_in(request, session, ctx, user, "/")
    except InvalidError as exc:
        with request_session(request, write=False) as session:
            return _welcome(request, session, key, name, exc.errors)


def same_twice(password: str, again: str) -> None:
    """Raises `InvalidError`."""
    if password != again:
        raise InvalidError("The two passwords differ. Type the same twice.", field="again")
