"""The link that makes the first administrator, as the start prints it."""

from __future__ import annotations

import app.domain.tables  # noqa: F401 - every table is known
from app.core.context import make_context
from app.core.settings import Settings
from app.domain.users import links, service
from app.domain.users.models import User


def first_administrator(settings: Settings, address: str) -> str:
    """A sentence with a link, good once and for a day; empty where there is an administrator, or no accounts are."""
    if not settings.web.accounts:
        return ""
    ctx = make_context(settings)
    try:
        with ctx.db.session(write=True) as session:
            key = links.first_link(session)
    finally:
        ctx.db.dispose()
    if not key:
        return ""
    there = _url(settings, address, key)
    return f"There is no administrator yet. Open this link, which works once, to become it:\n{there}"


def accounts_refusal(settings: Settings) -> str:
    """Why it does not start without accounts on a database that holds some; empty when it does."""
    if settings.web.accounts or settings.web.open_to_all:
        return ""
    ctx = make_context(settings)
    try:
        with ctx.db.session() as session:
            some = bool(service.list_users(session))
    finally:
        ctx.db.dispose()
    if not some:
        return ""
    return (
        "This database holds accounts, but they are switched off: whoever is on this machine could do everything. Set "
        "TUNEDECK_WEB__ACCOUNTS=true, or TUNEDECK_WEB__OPEN_TO_ALL=true if that is what you want."
    )


def link_for(settings: Settings, name: str, address: str) -> str:
    """A link by which the account `name` sets a password. Raises `DomainError`."""
    ctx = make_context(settings)
    try:
        with ctx.db.session(write=True) as session:
            user: User | None = service.find(session, name)
            return "" if user is None else _url(settings, address, links.make(session, user))
    finally:
        ctx.db.dispose()


def _url(settings: Settings, address: str, key: str) -> str:
    return f"{settings.web.public_url.rstrip('/') or address}/welcome?key={key}"


def address_of(settings: Settings) -> str:
    """Where the web process listens, as a person on this machine types it."""
    web = settings.web
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(web.host, f"[{web.host}]" if ":" in web.host else web.host)  # noqa: S104 - read, not listened on
    return f"http://{host}:{web.port}"
