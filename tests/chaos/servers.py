"""A Redis and a Postgres that a run starts, kills, stops, freezes and starts again: processes of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests import services

_START_SECONDS = 60


class Server:
    """One server on a port of its own; it comes back on the same port, with the data it had."""

    def __init__(self, command: list[str], answers: Callable[[], bool], user: str | None, folder: Path) -> None:
        self._command = command
        self._answers = answers
        self._user = user
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin; whoever needs it waits for its answer."""
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, user=self._user, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait(self) -> None:
        """Until it answers."""
        until = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert time.monotonic() < until, f"{self._command[0]} does not answer"
            time.sleep(0.05)

    def is_dead(self) -> bool:
        """Whether it has to be started again."""
        return self._process is None or self._process.poll() is not None

    def pids(self) -> list[int]:
        """It and its own processes; the first is the one that rules."""
        if self._process is None:
            return []
        with contextlib.suppress(psutil.Error):
            return [self._process.pid, *(child.pid for child in psutil.Process(self._process.pid).children())]
        return []

    def kill(self) -> None:
        """All at once, as when the power goes; its data stays as it is."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def stop(self) -> None:
        """As an administrator does, without waiting for clients. Postgres: a fast shutdown."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=10)
            self.kill()


def redis_server(folder: Path) -> tuple[Server, str]:
    """A Redis and its address. Raises `FileNotFoundError` when none is installed, at its start."""
    folder.mkdir()
    port = services._free_port()
    url = f"redis://127.0.0.1:{port}/0"
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir", str(folder)]
    return Server(["redis-server", *options], lambda: services._redis_answers(url), None, folder), url


def postgres_server(folder: Path) -> tuple[Server, str]:
    """A Postgres and its address; as root it runs as the user `postgres`."""
    binaries = services._postgres_binaries()
    assert binaries is not None, "Postgres is missing"
    folder.mkdir()
    user = "postgres" if os.getuid() == 0 else None
    if user:
        _open_way(folder, user)
    data, port = folder / "data", services._free_port()
    init = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"]
    subprocess.run(init, user=user, check=True, capture_output=True, cwd=folder)
    options = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "restart_after_crash=off"]
    command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port)]
    command += [part for option in options for part in ("-c", option)]
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    return Server(command, lambda: services._postgres_answers(url), user, folder), url


def _open_way(folder: Path, user: str) -> None:
    """The folder is the user's, and the folders above it can be walked through."""
    shutil.chown(folder, user)
    for above in folder.parents:
        if above.stat().st_mode & 0o001 == 0:
            above.chmod(above.stat().st_mode | 0o011)
