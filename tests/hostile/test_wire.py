"""Requests as no browser sends them: smuggled, endless, slow, of a foreign name."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

import httpx
import pytest

from tests.hostile.site import PATIENCE, Site, heard, status_of

_HOST = b"host: localhost\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 6\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 6\r\n",
        b"content-length: 6\r\ncontent-length: 60\r\n",
        b"content-length: -1\r\n",
        b"content-length: 1e3\r\n",
        b"content-length: +6\r\n",
        b"transfer-encoding: xchunked\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"transfer-encoding : chunked\r\n",
        b"transfer-encoding:\x0bchunked\r\n",
    ],
)
def test_a_request_ends_in_one_way_or_not_at_all(site: Site, head: bytes) -> None:
    """A second request in the body is never answered: a proxy may have passed it on as a part of the first."""
    smuggled = b"0\r\n\r\nGET /patterns HTTP/1.1\r\n" + _HOST + b"\r\n"
    answer = site.say(b"POST /demo-not-here HTTP/1.1\r\n" + _HOST + head + b"\r\n" + smuggled, seconds=1)
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert status_of(answer) in {0, 400, 404, 405}
    assert b"patterns" not in answer


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: evil.example\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost@evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: evil.example#localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: [::1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\xff\r\n\r\n",
        b"GET http://localhost/ HTTP/1.1\r\nhost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: 169.254.169.254\r\nx-forwarded-host: localhost\r\n\r\n",
    ],
)
def test_a_foreign_or_doubtful_host_is_refused(site: Site, raw: bytes) -> None:
    assert status_of(site.say(raw.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))) in {400, 421}


@pytest.mark.parametrize(
    "origin",
    ["null", "http://evil.example", "http://[", "http://localhost.evil.example", "https://localhost", "", "x" * 5000],
)
def test_a_form_of_another_site_is_refused(web: httpx.Client, origin: str) -> None:
    assert web.post("/demo", headers={"origin": origin}).status_code == 403
    assert web.delete("/api/jobs/1", headers={"origin": origin}).status_code == 403


def test_no_other_site_may_read(web: httpx.Client) -> None:
    asked = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    for answer in (web.options("/api/jobs", headers=asked), web.get("/api/jobs", headers=asked)):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_an_upgrade_to_a_web_socket_is_not_made(site: Site) -> None:
    head = b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\nsec-websocket-version: 13\r\n"
    for path in (b"/", b"/static/app.css"):
        answer = site.say(b"GET " + path + b" HTTP/1.1\r\n" + _HOST + head + b"\r\n", enough=b"\r\n\r\n")
        assert status_of(answer) in {200, 400, 403, 404}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "PROPFIND", "CONNECT", "GET2", "get"])
@pytest.mark.parametrize("path", ["/", "/api/jobs", "/static/app.css", "/settings"])
def test_methods_that_are_not_taken(site: Site, method: str, path: str) -> None:
    answer = site.say(f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode(), seconds=2)
    assert status_of(answer) in {0, 400, 405}


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\n" + _HOST + b"x: " + b"a" * 400_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + _HOST + b"x: y\r\n" * 60_000 + b"\r\n",
        b"GET /" + b"a" * 400_000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + _HOST + b"cookie: " + b"; ".join(b"c%d=1" % i for i in range(40_000)) + b"\r\n\r\n",
    ],
    ids=["one header", "many headers", "address", "cookies"],
)
def test_a_head_without_end_is_refused(site: Site, raw: bytes) -> None:
    assert status_of(site.say(raw, seconds=3)) in {0, 414, 431}
    assert site.answers()


def test_a_large_head_that_ends_is_answered(web: httpx.Client) -> None:
    cookies = {f"c{i}": "x" * 10 for i in range(1_000)}
    assert web.get("/", headers={"cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())}).status_code == 200
    assert web.get("/jobs", params={"show": "x" * 20_000}).status_code == 200


def dropped_after(peer: socket.socket) -> float:
    """Seconds until the other side ends the connection."""
    start = time.monotonic()
    heard(peer, b"")
    return time.monotonic() - start


def test_slow_heads_are_dropped_and_others_served(site: Site) -> None:
    with ExitStack() as stack:
        peers = [stack.enter_context(socket.create_connection(("127.0.0.1", site.port), 15)) for _ in range(300)]
        for peer in peers:
            peer.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ")
        assert site.answers()
        start = time.monotonic()
        while time.monotonic() - start < PATIENCE / 2:  # a byte now and then buys no time
            for peer in peers[:20]:
                peer.sendall(b"a")
            time.sleep(0.2)
        assert max(dropped_after(peer) for peer in peers) < PATIENCE * 3


def test_a_silent_connection_is_dropped(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.port), 15) as peer:
        assert dropped_after(peer) < PATIENCE * 3


@pytest.mark.parametrize(
    "path, kind",
    [
        ("/jobs", "application/x-www-form-urlencoded"),
        ("/settings/prices", "application/x-www-form-urlencoded"),
        ("/jobs", "multipart/form-data; boundary=x"),
        ("/demo", "text/plain"),
        ("/api/jobs", "application/json"),
        ("/api/queues/gpu/hold", "application/json"),
        ("/datasets", "multipart/form-data; boundary=x"),
    ],
)
def test_a_slow_body_keeps_no_writer_out(site: Site, web: httpx.Client, path: str, kind: str) -> None:
    """A transaction that writes must not wait for what a stranger sends."""
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: 5000\r\n\r\n--x\r\n"
    with socket.create_connection(("127.0.0.1", site.port), 15) as peer:
        peer.sendall(head.encode())
        time.sleep(0.2)
        start = time.monotonic()
        assert web.post("/settings/prices", data={"gpu_hour": "2", "currency": "EUR"}).status_code == 303
        assert time.monotonic() - start < PATIENCE / 2
        assert dropped_after(peer) < PATIENCE * 3


def test_a_flow_of_requests_on_one_connection_is_answered_in_order(site: Site) -> None:
    many = (b"GET /healthz HTTP/1.1\r\n" + _HOST + b"\r\n") * 50
    last = b"GET /healthz HTTP/1.1\r\n" + _HOST + b"connection: close\r\n\r\n"
    assert site.say(many + last).count(b"HTTP/1.1 200 OK") == 51
