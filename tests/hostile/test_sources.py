"""Addresses from which data sets are fetched: whatever is typed, nothing of this machine's neighbourhood is called."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.context import Context
from app.core.settings import SourceSettings
from app.domain.datasets.addresses import refusal_of, shown
from app.domain.datasets.origins import from_url
from app.domain.errors import InvalidError
from tests.hostile.test_addresses import Canary
from tests.hostile.values import INSIDE, LINES, TRAVERSAL, XSS
from worker.child import Child, JobError
from worker.intake.web import fetch_url
from worker.trainer.protocol import Control, Emitter
from worker.trainer.specs import UrlFetch


@pytest.fixture
def canary() -> Iterator[Canary]:
    with closing(Canary()) as made:
        yield made


def fetch(folder: Path, url: str, **rules: Any) -> str:
    """What a worker says to it; all hosts are allowed."""
    child = Child(folder, Emitter(folder, None), Control(folder), {})
    wish = UrlFetch(url=url, hosts=("*",), max_bytes=10**6, seconds=20.0, **rules)
    try:
        fetch_url(wish, child, folder / "out")
    except JobError as exc:
        return exc.message
    finally:
        child.events.close()
    return ""


@pytest.mark.parametrize("host", INSIDE)
def test_nothing_inside_is_called(tmp_path: Path, canary: Canary, host: str) -> None:
    said = fetch(tmp_path, f"http://{host}:{canary.port}/rows.jsonl")
    assert "not a public address" in said or "could not be read" in said, said
    assert canary.calls == 0


def test_a_name_is_asked_for_once_and_what_it_leads_to_is_called(
    tmp_path: Path, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def resolver(host: object, port: object, **_: object) -> list[object]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) > 1 else "10.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, canary.port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    for _ in range(2):
        assert "not a public address" in fetch(tmp_path, f"http://rebind.example.org:{canary.port}/a.jsonl")
    assert (len(asked), canary.calls) == (2, 0)


def test_a_host_that_is_allowed_leads_nowhere_else(tmp_path: Path) -> None:
    """Both by a redirect: to another place inside, and out of http."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        for there in (
            f"http://[::1]:{port}/",
            "http://10.0.0.1/",
            "file:///etc/passwd",
            "//169.254.169.254/",
            "gopher://x/",
        ):

            def answer(there: str = there) -> None:
                peer, _ = server.accept()
                with peer:
                    peer.recv(65_536)
                    peer.sendall(f"HTTP/1.1 302 Found\r\nlocation: {there}\r\ncontent-length: 0\r\n\r\n".encode())

            thread = threading.Thread(target=answer, daemon=True)
            thread.start()
            said = fetch(tmp_path, f"http://127.0.0.1:{port}/a", networks=("127.0.0.1/32",))
            thread.join(10)
            assert "not a public address" in said or "begins with https://" in said, said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "url",
    [
        *(f"{scheme}://example.org/" for scheme in ("file", "gopher", "ftp", "data", "unix", "HTTP ", "")),
        "http://user:secret@example.org/",
        "http://user@example.org/",
        "http://example.org:99999/",
        "http://exa mple.org/",
        "http://example.org\\@evil.org/",
        "http://[::1/",
        "http:///x",
        "http://example.org.evil.org/",
        "http://evilexample.org/",
        "http://sub.example.org/",
        "http://evil.org/?example.org",
        "http://evil.org/#example.org",
        "http://example.org/" + "a" * 3000,
        *TRAVERSAL,
        *LINES,
        *XSS,
    ],
)
def test_only_what_the_settings_name_is_taken(ctx: Context, url: str) -> None:
    settings = ctx.settings.model_copy(update={"sources": SourceSettings(url_hosts=["example.org"])})
    with ctx.db.session() as session, pytest.raises(InvalidError) as refused:
        from_url(session, ctx.bells, settings, url)
    assert refused.value.errors["source_url"]


@pytest.mark.parametrize(
    "host, allowed, fits",
    [
        ("example.org", "example.org", True),
        ("EXAMPLE.org.", "Example.org", True),
        ("a.b.example.org", "*.example.org", True),
        ("example.org", "*.example.org", False),
        ("badexample.org", "*.example.org", False),
        ("anything.net", "*", True),
    ],
)
def test_how_hosts_are_named(host: str, allowed: str, fits: bool) -> None:
    assert (refusal_of(f"https://{host}/x.jsonl", [allowed]) == "") == fits


def test_a_key_in_an_address_is_not_shown() -> None:
    assert shown("https://example.org/rows.jsonl?X-Amz-Signature=abc#f") == "https://example.org/rows.jsonl"


def test_it_is_off_here_and_said_so(web: httpx.Client) -> None:
    answer = web.post("/datasets/url", data={"source_url": "https://example.org/rows.jsonl"})
    assert (answer.status_code, "TUNEDECK_SOURCES__URL_HOSTS" in answer.text) == (422, True)
    assert 'action="/datasets/url"' not in web.get("/datasets/new").text


@pytest.mark.parametrize("name", ["a/b/c", "../..", "a b/c", "a", "<b>/x", "a/b.git", "a" * 200, "", "a/b?x", "a/\x00"])
def test_an_odd_name_on_the_hub_is_refused(ctx: Context, name: str) -> None:
    from app.core.settings import HubSettings
    from app.domain.datasets.origins import from_hub

    settings = ctx.settings.model_copy(update={"hub": HubSettings(endpoint="http://127.0.0.1:1")})
    for wish in ({"repo_id": name}, {"repo_id": "a/b", "revision": name or "../x"}):
        rest = {"config": "", "split": "", "revision": ""} | wish
        if rest["revision"] in {"a/b/c", "a"}:  # a branch may be called so
            continue
        with ctx.db.session() as session, pytest.raises(InvalidError):
            from_hub(session, ctx.bells, settings, **rest)
