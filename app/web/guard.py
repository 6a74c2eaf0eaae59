"""The outermost middleware: who may call (Host, Origin), and the headers that every answer carries."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.net import is_address, is_loopback
from app.web.refusals import as_json

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: Everything that is not named here is refused.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'self'"
)
#: What no page of ours asks a browser for. The clipboard may be written: that is the button beside a command.
_UNUSED = (
    "accelerometer",
    "camera",
    "clipboard-read",
    "display-capture",
    "geolocation",
    "gyroscope",
    "hid",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "publickey-credentials-get",
    "screen-wake-lock",
    "serial",
    "usb",
    "xr-spatial-tracking",
)
SECURITY_HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "permissions-policy": ", ".join(f"{name}=()" for name in _UNUSED),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


#: Only over TLS: on plain HTTP browsers ignore it. Other names below the same domain are nobody's business here.
HSTS = "max-age=31536000"
_FOREIGN_HOST = "This address is not one Tunedeck answers to. Add it to TUNEDECK_WEB__ALLOWED_HOSTS if it is yours."
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NUL = re.compile(rb"\x00|%00")


class Guard:
    """Refuses foreign hosts (DNS rebinding) and foreign origins (forged requests); adds the security headers.

    `addresses`: any IP address is answered to, since people on a network type one.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Iterable[str] = (), *, addresses: bool = False) -> None:
        self.app = app
        self._hosts = frozenset(host.lower() for host in allowed_hosts if host)
        self._addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # there is none here
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        app = _told(scope["path"], *refusal) if refusal else self.app
        await app(scope, receive, _with_headers(send, secure=scope["scheme"] == "https"))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        host = hosts[0] if len(hosts) == 1 else ""  # of two, a proxy may have read the other
        if not self._knows(_host_name(host)):
            return 421, _FOREIGN_HOST
        # Postgres stores no NUL, and no address of ours has a control character.
        if _CONTROL.search(scope["path"]) or _NUL.search(scope["query_string"]):
            return 400, "This address holds characters that no address has."
        if scope["method"] not in SAFE_METHODS and _is_foreign(headers, host):
            return 403, "This request came from another site and was refused."
        return None

    def _knows(self, name: str) -> bool:
        # Who typed an address in figures was sent there by no name server.
        figures = self._addresses and is_address(name)
        return name in self._hosts or name.endswith(".localhost") or is_loopback(name) or figures


def _told(path: str, status: int, message: str) -> Response:
    if path.startswith("/api/"):
        return as_json(status, message)
    return PlainTextResponse(message, status_code=status)


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_foreign(headers: Headers, host: str) -> bool:
    # Every browser of the last years sends Sec-Fetch-Site; a script sends neither header and carries no cookies.
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return True
    return any(not _is_ours(origin, host) for origin in headers.getlist("origin"))


def _is_ours(origin: str, host: str) -> bool:
    try:
        netloc = urlsplit(origin).netloc
    except ValueError:
        return False
    return _authority(netloc, origin) == _authority(host, origin)


def _authority(netloc: str, origin: str) -> str:
    default = ":443" if origin.startswith("https:") else ":80"
    return netloc.lower().removesuffix(default)


def _with_headers(send: Send, *, secure: bool) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            if secure:
                message["headers"] = [_kept_on_tls(*header) for header in message.get("headers", ())]
            headers = MutableHeaders(scope=message)
            headers.update(SECURITY_HEADERS | ({"strict-transport-security": HSTS} if secure else {}))
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return wrapped


def _kept_on_tls(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A cookie set over TLS goes over nothing else."""
    bare = name.lower() == b"set-cookie" and b"; secure" not in value.lower()
    return name, value + b"; Secure" if bare else value
