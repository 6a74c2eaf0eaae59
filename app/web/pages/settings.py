"""Settings: the Hub token (write-only), where things live, which versions run. No secret is ever shown."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from app.core.context import Context
from app.domain.errors import InvalidError
from app.domain.models import allowances
from app.domain.preferences import service as preferences
from app.domain.preferences.service import Prices
from app.domain.secrets import service as secrets
from app.web import filters
from app.web.deps import ContextDep, FormDep, SessionDep, text
from app.web.doors import about
from app.web.render import page, see_other
from app.web.render import translate as _

router = APIRouter(prefix="/settings")
PACKAGES = ("tunedeck", "fastapi", "sqlmodel", "celery", "torch", "transformers", "trl", "peft", "unsloth", "xllamacpp")


@router.get("")
def show(request: Request, session: SessionDep, ctx: ContextDep) -> Response:
    """Everything that can be seen; what can be changed here has a form."""
    return _page(request, session, ctx)


def _page(
    request: Request, session: SessionDep, ctx: Context, errors: dict[str, str] | None = None, **typed: str
) -> Response:
    prices = preferences.read(session, Prices)
    return page(
        request,
        "settings/settings.html",
        status_code=422 if errors else 200,
        token=secrets.find_secret(session, secrets.HUB_TOKEN),
        allowances=allowances.allowances(session),
        code={"model": "", "commit": ""} | typed,
        prices={"gpu_hour": f"{prices.gpu_hour:.2f}" if prices.gpu_hour else "", "currency": prices.currency} | typed,
        errors=errors or {},
        hub=ctx.settings.hub,
        places=_places(ctx),
        versions=_versions(),
    )


@router.post("/hub-token")
def set_token(request: Request, session: SessionDep, ctx: ContextDep, form: FormDep) -> Response:
    """Keep the token, encrypted."""
    try:
        secrets.set_secret(session, ctx.settings, secrets.HUB_TOKEN, text(form, "hub_token"))
    except InvalidError as exc:
        return _page(request, session, ctx, {"hub_token": exc.message})
    return see_other(request, "/settings", _("The token was saved. It is used from the next job on."))


@router.post("/prices")
def set_prices(request: Request, session: SessionDep, ctx: ContextDep, form: FormDep) -> Response:
    """Keep what an hour of a GPU costs."""
    typed = {"gpu_hour": text(form, "gpu_hour"), "currency": text(form, "currency").upper()}
    try:
        chosen = Prices.model_validate(typed | {"gpu_hour": typed["gpu_hour"].replace(",", ".") or 0})
    except ValidationError as exc:
        said = {
            "gpu_hour": _("A price is a number such as 2.50; empty where there is none."),
            "currency": _("A currency has three letters, such as EUR."),
        }
        wrong = {str(error["loc"][0]) for error in exc.errors()}
        return _page(request, session, ctx, {name: said[name] for name in said if name in wrong}, **typed)
    preferences.write(session, chosen)
    return see_other(request, "/settings#prices", _("The price was saved."))


@router.post("/foreign-code")
def allow_code(request: Request, session: SessionDep, ctx: ContextDep, form: FormDep) -> Response:
    """Let a model bring code of its author, at one commit."""
    typed = {"model": text(form, "model"), "commit": text(form, "commit").lower()}
    try:
        allowances.allow(session, typed["model"], typed["commit"])
    except InvalidError as exc:
        return _page(request, session, ctx, exc.errors, **typed)
    about(request, f"{typed['model']} at {typed['commit']}")
    said = _(
        "The code of %(name)s may run at that commit. A job names the commit as its revision.", name=typed["model"]
    )
    return see_other(request, "/settings#foreign-code", said)


@router.post("/foreign-code/delete")
def withdraw_code(request: Request, session: SessionDep, form: FormDep) -> Response:
    """From the next job on it may not."""
    allowances.withdraw(session, text(form, "model"), text(form, "commit"))
    about(request, f"{text(form, 'model')[:100]} at {text(form, 'commit')[:40]}")
    return see_other(request, "/settings#foreign-code", _("That code does not run any more, from the next job on."))


@router.post("/hub-token/delete")
def delete_token(request: Request, session: SessionDep) -> Response:
    """Forget the token."""
    secrets.delete_secret(session, secrets.HUB_TOKEN)
    return see_other(request, "/settings", _("The token was deleted."))


def _places(ctx: Context) -> list[dict[str, Any]]:
    settings = ctx.settings
    return [
        {"label": _("Data folder"), "value": str(settings.root)},
        {"label": _("Shared storage"), "value": settings.storage_url or _("none; the data folder alone")},
        {"label": _("Free space"), "value": filters.filesize(ctx.storage.free_bytes())},
        {"label": _("Database"), "value": _without_password(settings.database)},
        {"label": _("Broker"), "value": _without_password(settings.redis)},
        {"label": _("Base models"), "value": str(settings.model_cache)},
        {"label": _("Largest upload"), "value": filters.filesize(settings.web.max_upload_bytes)},
    ]


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl() if parts.netloc else url


def _versions() -> list[dict[str, Any]]:
    out = [{"label": "Python", "value": platform.python_version()}]
    for name in PACKAGES:
        try:
            out.append({"label": name, "value": version(name)})
        except PackageNotFoundError:
            out.append({"label": name, "value": _("not installed")})
    return out
