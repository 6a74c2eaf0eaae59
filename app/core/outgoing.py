"""Connections to addresses that a person typed: the name is looked up once, checked, and just that address is called.

Looked up at the time of sending, never before, so that a name can't be pointed elsewhere between check and use. No
proxy of the environment is used: it would look the name up again.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: Silence after which a peer is given up, in seconds, and the longest a whole exchange may last.
SILENCE_SECONDS, WHOLE_SECONDS = 10.0, 30.0
_SETTING = "TUNEDECK_NOTIFY__ALLOWED_NETWORKS"
#: 64:ff9b::/96 and 2002::/16 carry an IPv4 address inside; what they lead to can't be told from here.
_TUNNELS = tuple(ipaddress.ip_network(net) for net in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))


class RefusedAddressError(Exception):
    """The address is not one that may be called; trying again is of no use."""


def may_be_called(address: Address, allowed: Sequence[str]) -> bool:
    """Whether `address` is a public one, or lies in one of the networks of `allowed`."""
    inner = getattr(address, "ipv4_mapped", None) or address
    if any(inner in ipaddress.ip_network(net, strict=False) for net in allowed):
        return True
    return inner.is_global and not inner.is_multicast and not any(inner in net for net in _TUNNELS)


def look_up(host: str, port: int, allowed: Sequence[str], setting: str = _SETTING) -> str:
    """The first address of `host`. Raises `RefusedAddressError` if any is not public, `OSError` if there is none.

    `setting`: the one by which it may be allowed.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    for address in addresses:
        if not may_be_called(ipaddress.ip_address(address), allowed):
            raise RefusedAddressError(
                f"{host} leads to {address}, which is not a public address. Whoever runs the server can allow it with "
                f"{setting}."
            )
    return addresses[0]


def connect(host: str, port: int, allowed: Sequence[str], setting: str = _SETTING) -> socket.socket:
    """A connection to the checked address of `host`. Raises `RefusedAddressError` or `OSError`."""
    return socket.create_connection((look_up(host, port, allowed, setting), port), timeout=SILENCE_SECONDS)


@contextmanager
def time_limit(peer: socket.socket, seconds: float = WHOLE_SECONDS) -> Iterator[None]:
    """Cut `peer` off after `seconds`: one that sends a byte now and then would hold the sender for ever."""
    timer = threading.Timer(seconds, _cut, [peer])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(peer: socket.socket) -> None:
    with suppress(OSError):  # closed meanwhile
        peer.shutdown(socket.SHUT_RDWR)


def open_http(url: str, allowed: Sequence[str], setting: str = _SETTING) -> tuple[HTTPConnection, str]:
    """A connected client for `url`, and the target to ask it for. Raises `RefusedAddressError` or `OSError`."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise RefusedAddressError("Only addresses that begin with https:// or http:// are called.")
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    peer = connect(parts.hostname, port, allowed, setting)
    if secure:
        peer = ssl.create_default_context().wrap_socket(peer, server_hostname=parts.hostname)
    client = HTTPConnection(parts.hostname, port)
    client.default_port = 443 if secure else 80  # decides whether the Host header names the port
    client.sock = peer
    return client, parts._replace(scheme="", netloc="", fragment="", path=parts.path or "/").geturl()
