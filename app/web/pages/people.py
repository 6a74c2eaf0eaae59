"""People: who may come in, and what they may do. For administrators."""

from __future__ import annotations

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from app.core.context import Context
from app.domain.errors import ConflictError, InvalidError
from app.domain.users import links, service, sessions, tokens
from app.domain.users.access import Actor, Role
from app.domain.users.models import User
from app.web.deps import ActorDep, ContextDep, FormDep, Id, SessionDep, text
from app.web.doors import about
from app.web.render import page, see_other
from app.web.render import translate as _
from app.web.views.people import person_row, role_words

router = APIRouter(prefix="/settings/people")
HERE = "/settings/people"


@router.get("")
def show(request: Request, session: SessionDep, actor: ActorDep) -> Response:
    """Everybody."""
    return _page(request, session, actor)


def _page(
    request: Request,
    session: Session,
    actor: Actor,
    errors: dict[str, str] | None = None,
    *,
    link: str = "",
    link_of: str = "",
    typed: dict[str, str] | None = None,
) -> Response:
    rows = [person_row(user, actor.user_id, _last(session, user)) for user in service.list_users(session)]
    roles = [{"value": role, "label": words[0], "help": words[1]} for role, words in role_words().items()]
    return page(
        request,
        "people/people.html",
        status_code=422 if errors else 200,
        people=rows,
        roles=roles,
        link=link,
        link_of=link_of,
        typed={"name": "", "role": Role.MEMBER.value} | (typed or {}),
        errors=errors or {},
    )


def _last(session: Session, user: User) -> object:
    found = sessions.of_user(session, user.id or 0)
    return found[0].last_used if found else None


def _link(request: Request, ctx: Context, session: Session, user: User) -> str:
    base = ctx.settings.web.public_url.rstrip("/") or str(request.base_url).rstrip("/")
    return f"{base}/welcome?key={links.make(session, user)}"


def _need_accounts(ctx: Context) -> None:
    if not ctx.settings.web.accounts:
        raise ConflictError("Accounts are switched off. Start Tunedeck with TUNEDECK_WEB__ACCOUNTS=true first.")


@router.post("")
def add(request: Request, session: SessionDep, ctx: ContextDep, actor: ActorDep, form: FormDep) -> Response:
    """A new account, and the link by which its owner sets a password."""
    _need_accounts(ctx)
    typed = {"name": text(form, "name"), "role": text(form, "role")}
    try:
        user = service.create(session, typed["name"], _role(typed["role"]))
    except InvalidError as exc:
        return _page(request, session, actor, exc.errors, typed=typed)
    about(request, f"person {user.id} “{user.name}”", role=user.role)
    return _page(request, session, actor, link=_link(request, ctx, session, user), link_of=user.name)


def _role(word: str) -> Role:
    if word not in set(Role):
        raise InvalidError("Choose what they may do.", field="role")
    return Role(word)


@router.post("/{user_id}/role")
def set_role(request: Request, session: SessionDep, ctx: ContextDep, user_id: Id, form: FormDep) -> Response:
    """Another role, from the next request on."""
    _need_accounts(ctx)
    user, role = service.get(session, user_id), _role(text(form, "role"))
    about(request, f"person {user.id} “{user.name}”", role=role)
    service.set_role(session, user, role)
    said = _("“%(name)s” is %(role)s now.", name=user.name, role=role_words()[role][0].lower())
    return see_other(request, HERE, said)


@router.post("/{user_id}/link")
def new_link(request: Request, session: SessionDep, ctx: ContextDep, actor: ActorDep, user_id: Id) -> Response:
    """A link by which somebody who forgot it sets another password; the old one counts until then."""
    _need_accounts(ctx)
    user = service.get(session, user_id)
    if user.disabled_at:
        raise ConflictError("This account is closed. Open it first.")
    about(request, f"person {user.id} “{user.name}”")
    return _page(request, session, actor, link=_link(request, ctx, session, user), link_of=user.name)


@router.post("/{user_id}/close")
def close(request: Request, session: SessionDep, ctx: ContextDep, user_id: Id) -> Response:
    """Nobody gets in by it any more; what it owns stays."""
    _need_accounts(ctx)
    user = service.get(session, user_id)
    about(request, f"person {user.id} “{user.name}”")
    service.disable(session, user)
    said = _("The account of “%(name)s” is closed. Their data sets and jobs stay.", name=user.name)
    return see_other(request, HERE, said)


@router.post("/{user_id}/open")
def open_again(request: Request, session: SessionDep, ctx: ContextDep, user_id: Id) -> Response:
    """Let them in again."""
    _need_accounts(ctx)
    user = service.get(session, user_id)
    about(request, f"person {user.id} “{user.name}”")
    service.enable(session, user)
    return see_other(request, HERE, _("“%(name)s” may come in again.", name=user.name))


@router.post("/{user_id}/sign-out")
def sign_out(request: Request, session: SessionDep, ctx: ContextDep, user_id: Id) -> Response:
    """Every browser of somebody is signed out."""
    _need_accounts(ctx)
    user = service.get(session, user_id)
    about(request, f"person {user.id} “{user.name}”")
    sessions.revoke_others(session, user_id, None)
    tokens.revoke_all(session, user_id)
    return see_other(
        request, HERE, _("“%(name)s” was signed out everywhere, and their tokens are revoked.", name=user.name)
    )
