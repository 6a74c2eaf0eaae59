"""The outermost middleware: who may call (Host, Origin), and the headers that every answer carries."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.net import is_address, is_loopback

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CSP = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'"
)
SECURITY_HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Refuses foreign hosts (DNS rebinding) and foreign origins (forged requests); adds the security headers.

    `addresses`: any IP address is answered to, since people on a network type one.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Iterable[str] = (), *, addresses: bool = False) -> None:
        self.app = app
        self._hosts = frozenset(host.lower() for host in allowed_hosts if host)
        self._addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope["method"], Headers(scope=scope))
        app = PlainTextResponse(refusal[1], status_code=refusal[0]) if refusal else self.app
        await app(scope, receive, _with_headers(send))

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._knows(_host_name(host)):
            return (
                421,
                "This address is not one Tunedeck answers to. Add it to TUNEDECK_WEB__ALLOWED_HOSTS if it is yours.",
            )
        if method not in SAFE_METHODS and _is_foreign(headers, host):
            return 403, "This request came from another site and was refused."
        return None

    def _knows(self, name: str) -> bool:
        # Who typed an address in figures was sent there by no name server.
        figures = self._addresses and is_address(name)
        return name in self._hosts or name.endswith(".localhost") or is_loopback(name) or figures


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_foreign(headers: Headers, host: str) -> bool:
    # Every browser of the last years sends Sec-Fetch-Site; a script sends neither header and carries no cookies.
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return True
    origin = headers.get("origin")
    return origin is not None and _authority(urlsplit(origin).netloc, origin) != _authority(host, origin)


def _authority(netloc: str, origin: str) -> str:
    default = ":443" if origin.startswith("https:") else ":80"
    return netloc.lower().removesuffix(default)


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return wrapped
