"""Templates to answers: pages, fragments, redirects, flash messages. The only place that knows HX headers."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import missing
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.core.context import Context
from app.core.settings import resource_dir
from app.domain.datasets.models import Dataset
from app.domain.jobs.models import Job
from app.domain.users.access import Actor, Role
from app.web import filters
from app.web.doors import actor_of, session_of
from app.web.language import LANGUAGES, current, translations
from app.web.nav import nav_of

FLASH = "tunedeck_flash"
_VARY = {"vary": "HX-Request-Type, HX-Target"}


class _Missing(StrictUndefined):
    """A name nobody passed is an error; a key that a row may leave out is merely false. Neither can be printed."""

    __slots__ = ()

    def _is_name(self) -> bool:
        return self._undefined_obj is missing and self._undefined_hint is None

    def __bool__(self) -> bool:  # type: ignore[override] # the parent never returns
        return self._fail_with_undefined_error() if self._is_name() else False

    def __eq__(self, other: object) -> bool:  # type: ignore[override] # likewise
        return self._fail_with_undefined_error() if self._is_name() else type(self) is type(other)

    def __hash__(self) -> int:  # type: ignore[override] # likewise
        return id(type(self))


def translate(message: str, **values: Any) -> str:
    """The message in the reader's language, its `%(name)s` filled in (`%%` is a plain %). Markup stays markup."""
    return _fill(translations().gettext(message), values)


def translate_many(one: str, many: str, n: int, **values: Any) -> str:
    """`translate` with singular and plural."""
    return _fill(translations().ngettext(one, many, n), {"n": n, **values})


def _fill(said: str, values: dict[str, Any]) -> str:
    if any(isinstance(value, Markup) for value in values.values()):
        return escape(said) % values
    return said % values


@lru_cache
def _digest(path: Path, _mtime: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:10]


def static(name: str) -> str:
    """Address of a file below static/, with its digest, so that it may be cached for ever."""
    path = resource_dir("static") / name
    return f"/static/{name}?v={_digest(path, path.stat().st_mtime_ns)}"


@lru_cache
def environment() -> Environment:
    """The one Jinja environment. Made at the first page, so that starting stays quick."""
    env = Environment(
        loader=FileSystemLoader(resource_dir("templates")),
        autoescape=True,
        undefined=_Missing,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
        trim_blocks=True,
        lstrip_blocks=True,
        cache_size=200,
    )
    env.filters.update(filters.ALL)
    env.globals.update(_=translate, gettext=translate, ngettext=translate_many, static=static)
    env.globals.update(language=current, languages=LANGUAGES)
    _add_macros(env)
    return env


def _add_macros(env: Environment) -> None:
    # A block rendered by itself runs none of its page's imports: macros are globals as well, by file and by name.
    for name in sorted(env.list_templates(filter_func=lambda name: name.startswith("_macros/"))):
        module = env.get_template(name).module
        names = {key: getattr(module, key) for key in dir(module) if not key.startswith("_")}
        env.globals.update({key: value for key, value in names.items() if callable(value) and key not in env.globals})


def page(
    request: Request,
    template: str,
    *,
    status_code: int = 200,
    partials: Mapping[str, str] | None = None,
    **values: Any,
) -> HTMLResponse:
    """A page; or, when htmx asks for one target, only that: the partial or the block of the page named like its id."""
    values = {**values, "request": request, "nav": _nav(request), "flashes": _take_flash(request), "me": me_of(request)}
    found = environment().get_template(template)
    target = wanted_target(request)
    block = target.replace("-", "_")
    if target in (partials or {}):
        html = environment().get_template((partials or {})[target]).render(values)
    elif block in found.blocks:
        html = "".join(found.blocks[block](found.new_context(values)))
    else:
        html = found.render(values)
    response = HTMLResponse(html, status_code, _VARY)
    if values["flashes"]:
        response.delete_cookie(FLASH, path="/")
    return response


@dataclass(frozen=True)
class Me:
    """Who looks at a page, as templates ask."""

    name: str = ""
    #: Whether there are accounts here at all.
    accounts: bool = False
    signed_in: bool = False
    makes: bool = False
    administers: bool = False
    actor: Actor | None = None

    def owns(self, row: Dataset | Job) -> bool:
        """Whether they may change it."""
        return self.actor is not None and self.actor.owns(row.owner_id)


def me_of(request: Request) -> Me:
    """Nobody, where no route was found."""
    ctx: Context = request.app.state.ctx
    actor, accounts = actor_of(request), ctx.settings.web.accounts
    if actor is None:
        return Me(accounts=accounts)
    administers, makes = actor.has(Role.ADMINISTRATOR), actor.has(Role.MEMBER)
    return Me(actor.name, accounts, signed_in=True, makes=makes, administers=administers, actor=actor)


def is_partial(request: Request) -> bool:
    """Whether htmx asked for a fragment."""
    return request.headers.get("hx-request-type") == "partial"


def wanted_target(request: Request) -> str:
    """Id of the element htmx will fill; empty for a whole page."""
    return request.headers.get("hx-target", "").partition("#")[2] if is_partial(request) else ""


def _nav(request: Request) -> dict[str, Any]:
    if actor_of(request) is None or is_partial(request):
        return {"current": "", "counts": {}}
    with session_of(request) as session:
        return nav_of(session, request.url.path)


def came_from(request: Request) -> str:
    """The address of the page of ours whose form or link led here; empty where that can't be told."""
    try:
        came = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return ""
    # Browsers read a backslash as a slash, and two of them at the start as another host.
    plain = came.path.startswith("/") and not came.path.startswith("//") and "\\" not in came.path
    is_ours = came.netloc == request.url.netloc and plain
    return came._replace(scheme="", netloc="", fragment="").geturl() if is_ours else ""


def see_other(request: Request, url: str, said: str = "", kind: str = "ok") -> Response:
    """After a form: go to `url`, where `said` is shown once. htmx is told to load it as a page."""
    response: Response = RedirectResponse(url, 303)
    if request.headers.get("hx-request") == "true":
        response = Response(status_code=200, headers={"HX-Redirect": url})
    if said:
        put_flash(response, said, kind)
    return response


def put_flash(response: Response, text: str, kind: str = "ok") -> None:
    """Show `text` on the next page."""
    raw = base64.urlsafe_b64encode(json.dumps({"kind": kind, "text": text[:1000]}).encode()).decode()
    response.set_cookie(FLASH, raw, max_age=60, httponly=True, samesite="strict", path="/")


def _take_flash(request: Request) -> list[dict[str, str]]:
    raw = request.cookies.get(FLASH)
    if not raw or is_partial(request):
        return []
    try:
        flash = json.loads(base64.urlsafe_b64decode(raw))
        kind = flash["kind"] if flash["kind"] in {"", "ok", "warn", "bad"} else ""
        # A cookie is whatever somebody sent: half a surrogate pair could not be written into the page.
        return [{"kind": kind, "text": str(flash["text"]).encode(errors="replace").decode()}]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def refusal(request: Request, status_code: int, **values: Any) -> Response:
    """An error: a page; or, for a fragment, a toast that leaves what is on the page alone."""
    if not is_partial(request):
        return page(request, "errors/error.html", status_code=status_code, status=status_code, **values)
    html = environment().get_template("errors/_fragment.html").render(values)
    return HTMLResponse(html, status_code, {"HX-Retarget": "#toasts", "HX-Reswap": "innerHTML"})
