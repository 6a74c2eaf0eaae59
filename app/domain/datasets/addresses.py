"""Addresses from which a data set may be fetched. Pure; asked before it is stored, and again at each redirect."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

LONGEST = 2_000
_OFF = "Files are not fetched from addresses here. Whoever runs the server can allow it (TUNEDECK_SOURCES__URL_HOSTS)."
_OFF = "Files are not fetched from addresses here. Whoever runs the server can allow it (TUNEDECK_SOURCES__URL_HOSTS)."
_ODD = re.compile(r"[\s\x00-\x1f\x7f\\]")


def refusal_of(url: str, hosts: Sequence[str]) -> str:
    """Why `url` is not called; empty where it may be.

    `hosts`: names, `*.example.org` for all below one, `*` for any.
    """
    if not hosts:
        return _OFF
    try:
        parts = urlsplit(url)
        host, _port = (parts.hostname or "").rstrip(".").lower(), parts.port
    except ValueError:
        return "This is no address that can be called."
    if parts.scheme not in {"http", "https"} or not host or _ODD.search(url) or len(url) > LONGEST:
        return "Write an address that begins with https:// or http://, of at most 2000 characters."
    if parts.username is not None or parts.password is not None:
        return "The address holds a name or a password, which would be stored and shown. Upload the file instead."
    if not any(_fits(host, allowed.lower()) for allowed in hosts):
        return f"Files are not fetched from {host[:100]} here, only from {', '.join(hosts)[:300]}."
    return ""


def _fits(host: str, allowed: str) -> bool:
    return allowed in {"*", host} or (allowed.startswith("*.") and host.endswith(allowed[1:]))


def shown(url: str) -> str:
    """Without what follows the path, which may hold a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
