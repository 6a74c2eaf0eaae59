"""A name ends up in headers, cookies, logs and addresses: as a name."""

from __future__ import annotations

import base64
import json
import logging
from urllib.parse import quote

import httpx
import pytest

from app.core.logging import PlainFormatter
from app.domain.jobs.states import JobState
from tests.hostile.site import Site, status_of
from tests.hostile.values import LINES, TRAVERSAL, XSS
from tests.web import seeding

_STORABLE = [text for text in LINES if "\x00" not in text]


@pytest.mark.parametrize("name", [*_STORABLE, *XSS, 'a"; filename="evil.exe', "ümläut.zip", "a;b=c", *TRAVERSAL])
def test_a_name_makes_no_header(site: Site, web: httpx.Client, name: str) -> None:
    with site.ctx.db.session(write=True) as session:
        job = seeding.training(session, site.ctx, site.world.dataset, name)
        seeding.run(session, job)
        made = seeding.finish(session, site.ctx, job)
    download = web.get(f"/artifacts/{made['adapter']}/download")
    assert download.status_code == 200
    assert "hostile9" not in download.headers.get("set-cookie", "")
    shown = download.headers["content-disposition"]
    assert shown.isascii()
    assert shown.count('"') == 2
    gone = web.post(f"/jobs/{job.id}/delete", headers={"hx-request": "true"})
    assert gone.headers["hx-redirect"] == "/jobs"
    assert [cookie.name for cookie in gone.cookies.jar] == ["tunedeck_flash"]
    assert job.state == JobState.SUCCEEDED


@pytest.mark.parametrize("text", LINES)
@pytest.mark.parametrize("path", ["/jobs/1{}", "/{}", "/workers/gpu/{}/drain", "/static/{}", "/nothing?x={}"])
def test_an_address_makes_no_header_and_no_log_line(site: Site, web: httpx.Client, path: str, text: str) -> None:
    before = len(site.log().splitlines())
    answer = web.get(path.format(quote(text)))
    assert answer.status_code in {400, 404, 405}
    assert "hostile9" not in str(answer.headers)
    assert len(site.log().splitlines()) == before


@pytest.mark.parametrize("text", [*LINES, "\u202eevil", "\x9b31m"])
def test_a_log_line_is_one_line_without_commands(text: str) -> None:
    error = ValueError(text)
    record = logging.LogRecord("x", logging.INFO, "", 0, "a job named %s", (text,), (ValueError, error, None))
    first, *rest = PlainFormatter().format(record).split("\n")
    assert "a job named" in first
    assert all(line.startswith("    ") for line in rest)
    said = first + "".join(rest)
    assert said.isprintable()


@pytest.mark.parametrize(
    "referer",
    [
        "http://evil.example/x",
        "//evil.example/x",
        "http://[",
        "javascript:hostile9()",
        "http://127.0.0.1:{port}//evil.example",
        "http://127.0.0.1:{port}/\\evil.example",
        "http://127.0.0.1:{port}/\\/evil.example",
        "http://127.0.0.1:{port}@evil.example/",
        "http://127.0.0.1:{port}.evil.example/",
    ],
)
def test_the_way_back_leads_to_us(site: Site, web: httpx.Client, referer: str) -> None:
    answer = web.post(f"/jobs/{site.world.done}/pause", headers={"referer": referer.format(port=site.port)})
    assert answer.status_code == 409
    assert "evil.example" not in answer.text
    assert "hostile9" not in answer.text


@pytest.mark.parametrize("name", ["next", "url", "redirect", "return_to", "continue", "r"])
def test_no_parameter_says_where_to_go(web: httpx.Client, name: str) -> None:
    there = {name: "http://evil.example/"}
    answer = web.post("/settings/prices", params=there, data={"gpu_hour": "2", "currency": "EUR"} | there)
    assert answer.headers["location"] == "/settings#prices"


@pytest.mark.parametrize(
    "path", ["//evil.example", "//evil.example/", "/\\evil.example/", "/%2f%2fevil.example/", "/jobs/"]
)
def test_a_slash_too_many_redirects_to_nobody_else(site: Site, path: str) -> None:
    answer = site.say(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
    assert status_of(answer) in {307, 400, 404}
    where = [line for line in answer.splitlines() if line.lower().startswith(b"location:")]
    assert all(b"//localhost/" in line for line in where), where


def _cookie(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "cookie",
    [
        "x",
        "=" * 50,
        _cookie([]),
        _cookie({"kind": [], "text": 1}),
        _cookie({"kind": "bad", "text": "\ud800"}),
        _cookie({"kind": "bad", "text": XSS[0]}),
        base64.urlsafe_b64encode(b"[" * 20_000).decode(),
        base64.urlsafe_b64encode(b'{"kind": ' + b"9" * 9_000 + b"}").decode(),
        "\u00e9".encode().decode("latin-1"),
    ],
)
def test_a_forged_message_is_text_or_nothing(web: httpx.Client, cookie: str) -> None:
    answer = web.get("/settings", headers={b"cookie": f"tunedeck_flash={cookie}".encode("latin-1")})
    assert answer.status_code == 200
    assert "<script>hostile9" not in answer.text


def test_cookies_are_flagged(web: httpx.Client) -> None:
    made = web.post("/settings/prices", data={"gpu_hour": "2", "currency": "EUR"}).headers["set-cookie"].lower()
    assert "httponly" in made
    assert "samesite=strict" in made
