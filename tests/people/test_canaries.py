"""Secrets are planted everywhere they can be, work is done with them, and then everything is searched."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from starlette.testclient import TestClient

from app.core.context import Context, make_context
from app.domain.exports import service as exports
from app.domain.jobs import service as jobs
from app.domain.secrets import service as secrets
from app.main import create_app
from tests.web import seeding
from worker.runner import Runner

HUB = "hf_canaryOfTheHub0123456789"
MAIL = "canary-of-the-mail-server"
HOOK = "whsec_" + base64.b64encode(b"canary of the webhook, long enough").decode()
#: Of the environment in which a worker is started.
AROUND = {
    "AWS_SECRET_ACCESS_KEY": "canary-of-the-bucket",
    "TUNEDECK_SECRET_KEY": secrets.new_key(),
    "DATABASE_URL": "postgresql://u:canary-of-the-database@127.0.0.1/none",
    "REDIS_URL": "redis://:canary-of-the-broker@127.0.0.1/0",
    "SOME_API_KEY": "canary-of-somebody-else",
}
CANARIES = [
    HUB,
    MAIL,
    HOOK,
    HOOK.removeprefix("whsec_"),
    *AROUND.values(),
    "canary-of-the-database",
    "canary-of-the-broker",
]


class Gossip(http.server.BaseHTTPRequestHandler):
    """A Hub that answers everything with the token it was sent."""

    def do_GET(self) -> None:
        said = f"I was sent {self.headers.get('authorization')}".encode()
        self.send_response(500, "Broken")
        self.send_header("x-error-message", said.decode())
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_POST = do_HEAD = do_GET  # noqa: N815 - the library's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - likewise
        """Nothing."""


@pytest.fixture
def gossip() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gossip) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def watched() -> Iterator[list[str]]:
    """Environment and command line of every child of this process, as anybody on the machine may read them."""
    seen: list[str] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            for child in psutil.Process().children(recursive=True):
                try:
                    seen.append(f"{child.environ()} {child.cmdline()}")
                except psutil.Error:
                    continue

    thread = threading.Thread(target=look)
    thread.start()
    yield seen
    over.set()
    thread.join()


def planted(client: TestClient) -> None:
    hook = {"url": "https://example.org/h", "signing_secret": HOOK, "ends": "failed"}
    mail = seeding.MAIL | {"port": "587", "security": "starttls", "user": "u", "recipients": "a@example.org"}
    answers = [
        client.post("/settings/hub-token", data={"hub_token": HUB}),
        client.post("/settings/notifications/webhook", data=hook),
        client.post("/settings/notifications/email", data=mail | {"password": MAIL, "ends": "failed"}),
    ]
    assert [answer.status_code for answer in answers] == [303] * 3


def told(where: str, text: str | bytes) -> list[str]:
    data = text if isinstance(text, bytes) else text.encode()
    return [f"{where}: {canary}" for canary in CANARIES if canary.encode() in data]


@pytest.mark.slow
def test_no_secret_is_told_anywhere(
    ctx: Context, gossip: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("DEBUG")
    hub = ctx.settings.hub.model_copy(update={"endpoint": gossip, "offline": False, "disable_xet": True})
    settings = ctx.settings.model_copy(update={"hub": hub})
    open_ctx = make_context(settings, worker=True)
    with TestClient(create_app(settings), "http://localhost", follow_redirects=False) as client:
        planted(client)
        with open_ctx.db.session(write=True) as session:
            job = seeding.training(session, ctx, seeding.dataset(session, ctx))
            seeding.run(session, job)
            seeding.finish(session, ctx, job)
            wish = {"repo_id": "ada/x", "private": True, "what": [("adapter", "")]}
            push = exports.request_push(session, ctx.bells, settings, job.id or 0, **wish)  # type: ignore[arg-type]
        for name, value in AROUND.items():
            monkeypatch.setenv(name, value)
        with watched() as children:
            assert Runner(open_ctx, "w", "light").run_waiting() == 1
        pages = ["/", "/jobs", f"/jobs/{job.id}", f"/models/{job.id}", "/settings", "/settings/notifications"]
        pages += ["/settings/log", "/storage", "/workers", f"/api/jobs/{push.id}", "/api/openapi.json", "/metrics"]
        found = [line for path in pages for line in told(path, client.get(path).text)]
    with open_ctx.db.session() as session:
        ended = jobs.get_job(session, push.id or 0)
        events = [str(event.payload) for event in jobs.events_after(session, push.id or 0, 0)]
    assert ended.state == "failed", ended.error  # the Hub was asked, with the token, and gossiped
    assert children
    found += [line for each in [*events, str(ended.error)] for line in told("events", each)]
    found += [line for each in set(children) for line in told("a child", each)]
    found += told("logs", caplog.text) + told("repr", f"{settings!r} {open_ctx!r}")
    for path in settings.root.rglob("*"):
        if path.is_file():
            found += told(str(path.relative_to(settings.root)), path.read_bytes())
    assert found == []
    open_ctx.db.dispose()


def test_settings_show_no_password(monkeypatch: pytest.MonkeyPatch, ctx: Context) -> None:
    address = "postgresql://u:canary-of-the-database@127.0.0.1:1/none"
    settings = type(ctx.settings).model_validate(
        {"data_dir": ctx.settings.root, "database_url": address, "redis_url": AROUND["REDIS_URL"], "secret_key": HUB}
    )
    assert told("repr", repr(settings) + str(settings)) == []
