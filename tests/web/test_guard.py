"""Who may call, and what every answer carries."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from app.core.context import Context
from app.core.settings import WebSettings
from app.main import create_app
from app.web.guard import CSP


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.5:8642", "", "[::1", "a@b"])
def test_a_foreign_host_is_refused(client: TestClient, host: str) -> None:
    answer = client.get("/healthz", headers={"host": host})
    assert answer.status_code == 421
    assert answer.headers["content-security-policy"]


@pytest.mark.parametrize("host", ["localhost:9", "127.0.0.1", "127.8.9.1:80", "[::1]:8642", "LOCALHOST"])
def test_loopback_is_answered_at_any_port(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 200


def test_a_host_can_be_allowed(ctx: Context) -> None:
    settings = ctx.settings.model_copy(update={"web": WebSettings(allowed_hosts=["deck.lan"])})
    with TestClient(create_app(settings), base_url="http://deck.lan") as browser:
        assert browser.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "same-site", "origin": "http://localhost"},
    ],
)
def test_a_forged_form_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/demo", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers", [{}, {"origin": "http://localhost"}, {"origin": "http://localhost:80", "sec-fetch-site": "same-origin"}]
)
def test_our_own_forms_pass(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/datasets/1/delete", headers=headers).status_code == 404


def test_every_answer_carries_the_headers(client: TestClient) -> None:
    for path in ("/", "/nope", "/healthz", "/static/app.css"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert client.get("/").headers["cache-control"] == "no-store"


def test_an_error_of_ours_is_a_page_with_the_headers_and_no_traceback(client: TestClient, ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        session.execute(sa.text("DROP TABLE worker"))
    answer = client.get("/workers")
    assert answer.status_code == 500
    assert "no such table" not in answer.text
    assert answer.headers["content-security-policy"]


def test_static_files_are_kept_for_ever_by_their_digest(client: TestClient) -> None:
    assert "immutable" in client.get("/static/app.css?v=1").headers["cache-control"]
    assert client.get("/static/app.css").headers["cache-control"] == "no-cache"
    assert client.get("/static/../app/main.py").status_code == 404
    assert client.get("/static/%2e%2e/pyproject.toml").status_code == 404


def test_over_tls_browsers_are_told_to_stay_there(ctx: Context) -> None:
    """The scheme is the connection's: a header that anyone can send does not change it."""
    with TestClient(create_app(ctx.settings), base_url="https://localhost", follow_redirects=False) as browser:
        answer = browser.post("/settings/prices", data={"gpu_hour": "2", "currency": "EUR"})
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert "; Secure" in answer.headers["set-cookie"]
    with TestClient(create_app(ctx.settings), base_url="http://localhost", follow_redirects=False) as browser:
        said = {"x-forwarded-proto": "https"}
        answer = browser.post("/settings/prices", data={"gpu_hour": "2", "currency": "EUR"}, headers=said)
        assert "strict-transport-security" not in answer.headers
        assert "; Secure" not in answer.headers["set-cookie"]


def test_what_the_pages_use_is_what_the_policy_names() -> None:
    policy = dict(part.strip().partition(" ")[::2] for part in CSP.split(";"))
    assert all("http" not in source and "*" not in source and "unsafe" not in source for source in policy.values())
    assert {name for name, source in policy.items() if source == "'none'"} == {
        "default-src",
        "object-src",
        "base-uri",
        "frame-ancestors",
    }
