"""Messages when a job ends: where they go, a test of each way, and what became of those sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.datastructures import FormData
from starlette.responses import Response

from app.domain.deliveries import outbox, service, setup
from app.domain.deliveries.models import Channel
from app.domain.errors import ConflictError, InvalidError
from app.domain.secrets import service as secrets
from app.web.deps import ContextDep, FormDep, Id, SessionDep, text
from app.web.doors import about
from app.web.render import page, see_other
from app.web.render import translate as _
from app.web.views import notifications as view

HERE = "/settings/notifications"
router = APIRouter(prefix=HERE)
_SHOWN = 50


@dataclass
class _Typed:
    """A form that could not be kept: what was typed, and what is wrong with it."""

    channel: Channel
    values: dict[str, Any]
    errors: dict[str, str] = field(default_factory=dict)


@router.get("")
def show(request: Request, session: SessionDep) -> Response:
    """Both ways and the newest messages."""
    return _page(request, session)


def _page(request: Request, session: Session, typed: _Typed | None = None, new_secret: str = "") -> Response:
    configs = {channel: setup.find(session, channel) for channel in Channel}
    values = {channel.value: view.values_of(config) for channel, config in configs.items()}
    if typed is not None:
        values[typed.channel] |= typed.values
    messages = service.newest(session, _SHOWN)
    return page(
        request,
        "settings/notifications.html",
        status_code=422 if typed else 200,
        on={channel.value: config is not None for channel, config in configs.items()},
        values=values,
        errors=typed.errors if typed else {},
        wrong=typed.channel.value if typed else "",
        kept={channel.value: secrets.find_secret(session, setup.SECRETS[channel]) is not None for channel in Channel},
        ends=view.ends(),
        new_secret=new_secret,
        messages=[view.row_of(each) for each in messages],
        policy=view.policy(),
    )


@router.post("/webhook")
def set_webhook(request: Request, session: SessionDep, ctx: ContextDep, form: FormDep) -> Response:
    """Keep the address; the first time with a signing secret, which is shown this once."""
    given = text(form, "signing_secret")
    try:
        setup.save(session, Channel.WEBHOOK, {"url": text(form, "url"), "ends": _ends(form)})
        about(request, urlsplit(text(form, "url")).hostname or "")
        missing = secrets.find_secret(session, setup.SECRETS[Channel.WEBHOOK]) is None
        new = setup.set_signing_secret(session, ctx.settings, given) if given or missing else ""
    except InvalidError as exc:
        session.rollback()
        values = {"url": text(form, "url"), "ends": _ends(form)}
        return _page(request, session, _Typed(Channel.WEBHOOK, values, exc.errors))
    if new and not given:
        return _page(request, session, new_secret=new)
    return see_other(request, HERE, _("The webhook was saved. Send a test to see whether it arrives."))


@router.post("/webhook/secret")
def new_secret(request: Request, session: SessionDep, ctx: ContextDep) -> Response:
    """Make another signing secret; the old one counts no more."""
    return _page(request, session, new_secret=setup.set_signing_secret(session, ctx.settings))


@router.post("/email")
def set_email(request: Request, session: SessionDep, ctx: ContextDep, form: FormDep) -> Response:
    """Keep the mail server and the addresses; the password is kept encrypted."""
    typed: dict[str, Any] = {name: text(form, name) for name in ("host", "port", "security", "user", "sender")}
    typed |= {"recipients": text(form, "recipients"), "ends": _ends(form)}
    parts = (each.strip() for each in typed["recipients"].replace(";", ",").split(","))
    raw = typed | {"recipients": tuple(filter(None, parts))}
    try:
        setup.save(session, Channel.EMAIL, raw)
        setup.keep_password(session, ctx.settings, text(form, "password"))
    except InvalidError as exc:
        session.rollback()
        return _page(request, session, _Typed(Channel.EMAIL, typed, exc.errors))
    return see_other(request, HERE, _("The mail settings were saved. Send a test to see whether it arrives."))


def _ends(form: FormData) -> tuple[str, ...]:
    return tuple(end for end in view.ENDS if end in form.getlist("ends"))


@router.post("/{channel}/test")
def send_test(request: Request, session: SessionDep, channel: Channel) -> Response:
    """Send a message over the real way: through the table, by a worker."""
    if setup.find(session, channel) is None:
        raise ConflictError(_("Nothing is set up to send a test to. Save the form first."))
    outbox.test_message(session, channel)
    return see_other(request, f"{HERE}#messages", _("A test is on its way; the list below says what became of it."))


@router.post("/{channel}/delete")
def switch_off(request: Request, session: SessionDep, channel: Channel) -> Response:
    """Send nothing this way any more; the secret is forgotten."""
    setup.remove(session, channel)
    return see_other(request, HERE, _("Switched off. Nothing more is sent this way."))


@router.post("/messages/{message_id}/again")
def send_again(request: Request, session: SessionDep, message_id: Id) -> Response:
    """Try a message that failed once more."""
    service.again(session, message_id)
    return see_other(request, f"{HERE}#messages", _("It is sent again."))
