"""One's own account: the password, where one is signed in, tokens for scripts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from sqlmodel import Session
from starlette.responses import Response

from app.core.context import Context
from app.domain.errors import ConflictError, InvalidError, NotFoundError, TooManyError
from app.domain.trail import service as trail
from app.domain.users import passwords, service, sessions, tokens
from app.domain.users.access import Actor, Role, Scope
from app.web.deps import MAX_ID, ActorDep, ContextDep, FormDep, Id, SessionDep, text
from app.web.doors import about, address_of, request_session
from app.web.pages.sign_in import same_twice
from app.web.refusals import until_then
from app.web.render import page, see_other
from app.web.render import translate as _
from app.web.views.people import browser_row, lifetimes, role_words, scopes, token_row

router = APIRouter(prefix="/account")
HERE = "/account"


@router.get("")
def show(request: Request, session: SessionDep, ctx: ContextDep, actor: ActorDep) -> Response:
    """Everything of it."""
    return _page(request, session, ctx, actor)


def _own(ctx: Context, actor: Actor) -> int:
    if not ctx.settings.web.accounts or actor.user_id is None:
        raise NotFoundError("There are no accounts here: this installation is for one person on this machine.")
    return actor.user_id


def _page(
    request: Request,
    session: Session,
    ctx: Context,
    actor: Actor,
    errors: dict[str, str] | None = None,
    *,
    status_code: int = 0,
    new_token: str = "",
    typed: dict[str, str] | None = None,
) -> Response:
    user_id = _own(ctx, actor)
    return page(
        request,
        "people/account.html",
        status_code=status_code or (422 if errors else 200),
        role=role_words()[Role(actor.role)],
        browsers=[browser_row(row, actor.session_id) for row in sessions.of_user(session, user_id)],
        tokens=[token_row(row) for row in tokens.of_user(session, user_id)],
        scopes=scopes(actor),
        lifetimes=lifetimes(),
        new_token=new_token,
        typed={"name": "", "scope": Scope.READ.value, "days": "90"} | (typed or {}),
        errors=errors or {},
    )


@router.post("/password")
def set_password(request: Request, ctx: ContextDep, actor: ActorDep, form: FormDep) -> Response:
    """Another password: all browsers are signed out, this one too. It is looked at while no transaction is open."""
    user_id, new = _own(ctx, actor), str(form.get("password", ""))
    try:
        stored = _known(request, actor, str(form.get("old_password", "")))
        same_twice(new, str(form.get("again", "")))
        passwords.check_new(new, actor.name)
        password_hash = passwords.hashed(new)
    except (InvalidError, TooManyError) as exc:
        errors = exc.errors if isinstance(exc, InvalidError) else {"old_password": exc.message}
        with request_session(request, write=False) as session:
            return until_then(_page(request, session, ctx, actor, errors, status_code=exc.status), exc)
    with request_session(request, write=True) as session:
        user = service.signed_in(session, user_id, stored, actor.name, address_of(request), None)
        if user is None:
            raise ConflictError("The password was changed in the meantime. Sign in again.")
        service.set_password(session, user, password_hash, tokens_too=text(form, "tokens_too") == "yes")
    return see_other(request, "/sign-in", _("The password was changed. Sign in with it; every browser was signed out."))


def _known(request: Request, actor: Actor, old: str) -> str:
    """The hash of the old password, once it is known to be that. Guessing it is made slow here too."""
    address = address_of(request)
    ctx: Context = request.app.state.ctx
    with ctx.db.session(write=True) as session:
        _user_id, stored = service.password_of(session, actor.name, address)
    if not passwords.matches(old, stored)[0]:
        with ctx.db.session(write=True) as session:
            trail.record(session, actor, "account.password", address=address, outcome=trail.REFUSED)
        raise InvalidError("This is not your present password.", field="old_password")
    return stored


@router.post("/tokens")
def make_token(request: Request, session: SessionDep, ctx: ContextDep, actor: ActorDep, form: FormDep) -> Response:
    """A new token, shown this once."""
    typed = {"name": text(form, "name"), "scope": text(form, "scope"), "days": text(form, "days")}
    user_id, days = _own(ctx, actor), typed["days"]
    try:
        _within(actor, typed["scope"])
        number = int(days) if days.isascii() and days.isdigit() and len(days) < 5 else -1
        row, new = tokens.make(session, user_id, typed["name"], typed["scope"], number)
    except InvalidError as exc:
        return _page(request, session, ctx, actor, exc.errors, typed=typed)
    about(request, f"token {row.prefix} “{row.name}”", scope=row.scope)
    return _page(request, session, ctx, actor, new_token=new)


def _within(actor: Actor, scope: str) -> None:
    if scope == Scope.ADMIN and not actor.has(Role.ADMINISTRATOR):
        raise InvalidError("Only an administrator's token may do that.", field="scope")


@router.post("/tokens/{token_id}/revoke")
def revoke_token(request: Request, session: SessionDep, ctx: ContextDep, actor: ActorDep, token_id: Id) -> Response:
    """It opens nothing any more."""
    tokens.revoke(session, _own(ctx, actor), token_id)
    about(request, f"token {token_id}")
    return see_other(request, f"{HERE}#tokens", _("The token was revoked. Scripts that use it are refused."))


@router.post("/browsers/others/sign-out")
def sign_out_others(request: Request, session: SessionDep, ctx: ContextDep, actor: ActorDep) -> Response:
    """Only this browser stays signed in."""
    sessions.revoke_others(session, _own(ctx, actor), actor.session_id)
    return see_other(request, f"{HERE}#browsers", _("Every other browser was signed out."))


@router.post("/browsers/{browser_id}/sign-out")
def sign_out_one(
    request: Request,
    session: SessionDep,
    ctx: ContextDep,
    actor: ActorDep,
    browser_id: Annotated[int, Path(ge=1, le=MAX_ID)],
) -> Response:
    """Sign out one browser."""
    sessions.revoke(session, _own(ctx, actor), browser_id)
    return see_other(request, f"{HERE}#browsers", _("That browser was signed out."))
