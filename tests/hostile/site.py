"""The web process as a person starts it: a process of its own on a free port, with its broker and a full database."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from app.core.context import Context, make_context
from app.core.migrate import upgrade
from app.core.settings import Settings
from app.domain.workers.models import Worker
from app.supervisor import Broker, free_port
from tests.people.crowd import give, settle
from tests.web import seeding

_START_SECONDS = 60
#: Short, so that a test of slow senders need not wait long.
PATIENCE = 1.0


class Site:
    """A running web process over one of everything. `ids`: numbers of its people; none without accounts."""

    def __init__(self, ctx: Context, world: seeding.World, ids: dict[str, int], env: Mapping[str, str]) -> None:
        self.ctx, self.world, self.ids, self._more = ctx, world, ids, env
        self.port = free_port("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = ctx.settings.root.parent / "web.log"
        self.start()

    def start(self) -> None:
        """At first, and when it was killed."""
        with self._log.open("ab") as file:
            command = [sys.executable, "-P", "-m", "app.serve"]
            self.process = subprocess.Popen(command, env=self._env(), stdout=file, stderr=file)

    def _env(self) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("TUNEDECK_")}
        ours = {
            "TUNEDECK_DATA_DIR": str(self.ctx.settings.root),
            "TUNEDECK_DATABASE_URL": self.ctx.settings.database_url,
            "TUNEDECK_WEB__PORT": str(self.port),
            "TUNEDECK_WEB__MAX_UPLOAD_BYTES": "20000000",
            "TUNEDECK_WEB__PATIENCE_SECONDS": str(PATIENCE),
            "TUNEDECK_HUB__OFFLINE": "true",
            "TUNEDECK_WEB__ACCOUNTS": str(bool(self.ids)).lower(),
        }
        return env | ours | dict(self._more)

    def wait(self) -> None:
        """Until it answers."""
        until = time.monotonic() + _START_SECONDS
        while not self.answers():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < until, self.log()
            time.sleep(0.05)

    def answers(self, seconds: float = 5.0) -> bool:
        """Whether somebody else is served meanwhile."""
        try:
            return httpx.get(f"{self.url}/healthz", timeout=seconds).is_success
        except httpx.TransportError:
            return False

    def log(self) -> str:
        """Everything it wrote so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def browser(self) -> httpx.Client:
        """A client that shows what it gets and follows nothing."""
        return httpx.Client(base_url=self.url, timeout=30)

    def say(self, raw: bytes, seconds: float = 10.0, enough: bytes = b"") -> bytes:
        """Send bytes as they are; what comes back until the end, `enough`, or until nothing comes for `seconds`."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as peer:
            return heard(peer, raw, enough)

    def stop(self) -> None:
        """As the supervisor does."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def heard(peer: socket.socket, raw: bytes, enough: bytes = b"") -> bytes:
    """The answer to `raw`; a peer that hangs up is an answer too."""
    said = b""
    try:
        peer.sendall(raw)
        while not (enough and enough in said) and (chunk := peer.recv(65_536)):
            said += chunk
    except (TimeoutError, ConnectionError):
        pass
    return said


def status_of(answer: bytes) -> int:
    """Of a raw answer; 0 where the connection was just closed."""
    return int(answer.split(None, 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


@contextmanager
def running(
    folder: Path, database_url: str = "", *, accounts: bool = False, env: Mapping[str, str] | None = None
) -> Iterator[Site]:
    """A site in `folder`, gone afterwards. With `accounts` what there is belongs to mia."""
    settings = Settings.model_validate(
        {"data_dir": folder / "data", "database_url": database_url, "hub": {"offline": True}}
    )
    settings.root.mkdir(parents=True)
    upgrade(settings.database)
    broker = Broker(settings)
    broker.start()
    ctx = make_context(settings, worker=True)
    ids, world = settle(ctx) if accounts else {}, seeding.world(ctx)
    if accounts:
        give(ctx, ids["mia"])
    with ctx.db.session(write=True) as session:
        card = {"index": 0, "name": "GPU", "total": 24 * 10**9, "used": 10**9, "load": 3.5, "capability": "8.6"}
        session.add(Worker(name="w", queue="gpu", host="h", pid=1, facts={"gpus": [card], "labels": ["lab"]}))
    site = Site(ctx, world, ids, env or {})
    try:
        site.wait()
        yield site
    finally:
        site.stop()
        ctx.db.dispose()
        broker.stop()
