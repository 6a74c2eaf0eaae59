"""Which addresses are called, and how a peer is trusted."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app.core.context import Context
from app.core.outgoing import RefusedAddressError, look_up, may_be_called, time_limit
from app.core.settings import NotifySettings
from app.domain.deliveries.models import DeliveryState
from tests.deliveries.receivers import HookServer, certificate, hook_server
from tests.deliveries.test_deliveries import ended, messages, send_all, webhook

NOT_PUBLIC = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fd00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::1",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_is_not_public_is_not_called(address: str) -> None:
    assert not may_be_called(ipaddress.ip_address(address), [])


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_public_addresses_are_called(address: str) -> None:
    assert may_be_called(ipaddress.ip_address(address), [])


def test_a_setting_opens_a_network_and_no_other() -> None:
    allowed = ["10.1.2.0/24"]
    assert may_be_called(ipaddress.ip_address("10.1.2.3"), allowed)
    assert may_be_called(ipaddress.ip_address("::ffff:10.1.2.3"), allowed)
    assert not may_be_called(ipaddress.ip_address("10.1.3.3"), allowed)
    with pytest.raises(ValueError, match="ten"):
        NotifySettings(allowed_networks=["ten"])


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.1", "[::1]".strip("[]")])
def test_every_way_to_write_this_machine_is_seen_through(host: str) -> None:
    with pytest.raises(RefusedAddressError, match="not a public address"):
        look_up(host, 80, [])


def test_one_private_answer_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("93.184.215.14", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: both)
    with pytest.raises(RefusedAddressError):
        look_up("rebind.example.org", 80, [])


def test_a_refused_address_is_said_and_not_tried_again(any_ctx: Context, hook: HookServer) -> None:
    webhook(any_ctx, hook.url)
    ended(any_ctx)
    assert send_all(any_ctx) == 1
    [row] = messages(any_ctx)
    assert (row.state, hook.got) == (DeliveryState.FAILED, [])
    assert "TUNEDECK_NOTIFY__ALLOWED_NETWORKS" in row.tries[0]["answer"]


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_is_checked(open_ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool) -> None:
    context, file = certificate(tmp_path)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with hook_server(context) as server:
        webhook(open_ctx, server.url.replace("http:", "https:"))
        ended(open_ctx)
        assert send_all(open_ctx) == 1
    [row] = messages(open_ctx)
    assert row.state == (DeliveryState.DELIVERED if trusted else DeliveryState.WAITING)
    assert trusted or "certificate" in row.tries[0]["answer"]


def garbage(peer: socket.socket) -> None:
    peer.sendall(b"\x00\xff" * 100_000)


def endless(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        peer.sendall(b"x" * 65536)


@pytest.mark.parametrize(
    "behave, state",
    [(garbage, DeliveryState.WAITING), (endless, DeliveryState.DELIVERED), (None, DeliveryState.WAITING)],
)
def test_strange_peers_do_no_harm(
    open_ctx: Context, behave: Callable[[socket.socket], None] | None, state: DeliveryState
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=_answer, args=(server, behave), daemon=True).start()
        webhook(open_ctx, f"http://127.0.0.1:{port}/")
        ended(open_ctx)
        assert send_all(open_ctx) == 1
    [row] = messages(open_ctx)
    assert row.state == state
    assert len(row.tries[0]["answer"]) <= 500


def _answer(server: socket.socket, behave: Callable[[socket.socket], None] | None) -> None:
    peer, _ = server.accept()
    with peer:
        try:
            peer.recv(65536)
            if behave:
                behave(peer)
        except OSError:
            pass


def test_a_peer_that_drips_is_cut_off() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, time_limit(ours, 0.05):
        assert ours.recv(1) == b""
