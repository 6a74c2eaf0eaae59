"""The language of a request: its reader's choice, or the browser's. Pages follow it; calls of scripts stay English."""

from __future__ import annotations

import gettext
from contextvars import ContextVar
from functools import lru_cache
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

COOKIE = "tunedeck_language"
#: As each calls itself; the first is what the texts in the code are written in.
LANGUAGES = {"en": "English", "zh": "中文"}
_PLACE = Path(__file__).resolve().parents[1] / "locale"
_language: ContextVar[str] = ContextVar("language", default="en")


@lru_cache
def _read(language: str) -> gettext.NullTranslations:
    return gettext.translation("tunedeck", _PLACE, [language], fallback=True)


def current() -> str:
    """A key of `LANGUAGES`."""
    return _language.get()


def translations() -> gettext.NullTranslations:
    """Of the present request."""
    return _read(current())


def said(message: str) -> str:
    """A sentence that is whole already, if the catalogue has it; else as it is."""
    return translations().gettext(message) if message else ""


class Speaking:
    """Sets the language for all that a request calls."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(("/api/", "/static/")):
            await self.app(scope, receive, send)
            return
        token = _language.set(wanted(Headers(scope=scope)))
        try:
            await self.app(scope, receive, send)
        finally:
            _language.reset(token)


def wanted(headers: Headers) -> str:
    """By the cookie, else by `Accept-Language`: the first that there is."""
    chosen = _cookie(headers.get("cookie", ""))
    if chosen in LANGUAGES:
        return chosen
    asked = [_weighed(part) for part in headers.get("accept-language", "").split(",")[:20]]
    for _weight, tag in sorted(asked, key=lambda pair: -pair[0]):
        language = tag.partition("-")[0]
        if language in LANGUAGES:
            return language
    return "en"


def _cookie(raw: str) -> str:
    try:
        found = SimpleCookie(raw).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _weighed(part: str) -> tuple[float, str]:
    tag, _semicolon, weight = part.strip().lower().partition(";q=")
    try:
        return (float(weight) if weight else 1.0), tag
    except ValueError:
        return 0.0, ""
