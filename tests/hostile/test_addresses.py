"""Whatever is typed as an address, nothing of this machine's neighbourhood is called."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from app.core.outgoing import open_http
from app.domain.deliveries import service
from app.domain.deliveries.models import Delivery, DeliveryState
from tests.deliveries.test_deliveries import send_all
from tests.hostile.site import Site
from tests.hostile.values import INSIDE, LINES, TRAVERSAL, XSS

Save = Callable[[httpx.Client, str], httpx.Response]


def _webhook(web: httpx.Client, host: str) -> httpx.Response:
    return web.post("/settings/notifications/webhook", data={"url": f"http://{host}/x", "ends": "failed"})


def _mail(web: httpx.Client, host: str) -> httpx.Response:
    name, _, port = host.rpartition(":") if host.rpartition(":")[2].isdigit() and "]" not in host else (host, "", "25")
    form = {"host": name.strip("[]"), "port": port or "25", "security": "none", "ends": "failed"}
    people = {"sender": "a@example.org", "recipients": "b@example.org"}
    return web.post("/settings/notifications/email", data=form | people)


#: Every field whose value is called later, and how it is filled in: test_fields.py holds this to the forms.
CALLED: dict[str, tuple[str, Save]] = {"url": ("webhook", _webhook), "host": ("email", _mail)}


class Canary:
    """Listens on this machine: whoever connects was led here."""

    def __init__(self) -> None:
        self.calls = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            self.calls += 1
            peer.close()

    def close(self) -> None:
        """End."""
        self._server.close()


@pytest.fixture
def canary() -> Iterator[Canary]:
    made = Canary()
    yield made
    made.close()


@pytest.mark.parametrize("name", CALLED)
@pytest.mark.parametrize("host", INSIDE)
def test_nothing_inside_is_called(site: Site, web: httpx.Client, canary: Canary, name: str, host: str) -> None:
    channel, save = CALLED[name]
    saved = save(web, f"{host}:{canary.port}")
    assert saved.status_code in {200, 303, 422}
    if saved.status_code == 422:
        return
    assert web.post(f"/settings/notifications/{channel}/test").status_code == 303
    assert send_all(site.ctx) >= 1  # those that failed before are due again after a while
    with site.ctx.db.session() as session:
        [newest] = service.newest(session, 1)
    assert _was_refused(newest), newest.tries
    assert canary.calls == 0


def _was_refused(message: Delivery) -> bool:
    """By us; or the name is none at all, which says nothing of what lies there."""
    said = message.tries[-1]["answer"]
    return (message.state == DeliveryState.FAILED and "not a public address" in said) or "[Errno -" in said


@pytest.mark.parametrize(
    "url",
    [
        *(f"{scheme}://127.0.0.1/" for scheme in ("file", "gopher", "ftp", "ldap", "unix", "HTTP ", "")),
        "http://user:secret@example.org/",
        "http://example.org:0/",
        "http://example.org:99999/",
        "http://exa mple.org/",
        "http://example.org/\r\nx: y",
        "http://[::1/",
        "http:///x",
        "http://\u2460\u2461\u2466.0.0.1/",
        "//example.org",
        *TRAVERSAL,
        *LINES,
        *XSS,
    ],
)
def test_what_is_no_address_is_said_so(web: httpx.Client, url: str) -> None:
    answer = web.post("/settings/notifications/webhook", data={"url": url, "ends": "failed"})
    assert answer.status_code == 422


def test_a_name_that_leads_inside_is_seen_through(monkeypatch: pytest.MonkeyPatch, canary: Canary) -> None:
    """A name of somebody's own that points to this machine; asked for once, so it can't answer twice differently."""
    asked: list[object] = []

    def resolver(host: object, port: object, **_: object) -> list[object]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) > 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, canary.port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    for _ in range(2):
        with pytest.raises(Exception, match="not a public address"):
            open_http(f"http://rebind.example.org:{canary.port}/", [])
    assert asked == ["rebind.example.org"] * 2
    assert canary.calls == 0
