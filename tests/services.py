"""Real Postgres, Redis and an S3 server for the tests: found or started once in a session, gone at its end.

    postgres_url() -> "postgresql://…/tunedeck_test_1a2b3c" | None     a database of its own, empty
    redis_url()    -> "redis://127.0.0.1:40123/0" | None
    s3_url()       -> "http://127.0.0.1:40124"                         with an empty bucket named BUCKET
    needed(url, "Postgres") -> url                                     skips the test, or fails it where CI is set

Postgres: TEST_DATABASE_URL, else a server on 127.0.0.1:5432 that lets us in, else one started from its binaries.
Redis: TEST_REDIS_URL, else one started for us alone (its bells are then nobody else's), else 127.0.0.1:6379.
"""

from __future__ import annotations

import atexit
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest
import redis
from psycopg import sql

BUCKET = "tunedeck-tests"
_START_SECONDS = 30.0


def needed(url: str | None, what: str) -> str:
    """`url`, or the end of the test that asks for it."""
    if url is not None:
        return url
    sentence = f"{what} is missing; `make test` says how to get it."
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)


@lru_cache(maxsize=1)
def postgres_url() -> str | None:
    """A fresh database of this session, dropped at its end."""
    server = os.environ.get("TEST_DATABASE_URL") or _found_postgres() or _started_postgres()
    return _fresh_database(server.replace("+psycopg", "")) if server else None


def fresh_schema(url: str) -> str:
    """An empty schema of its own in the database of `url`, as an address."""
    name = f"t_{secrets.token_hex(6)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    return f"{url}?options=-csearch_path%3D{name}"


@lru_cache(maxsize=1)
def redis_url() -> str | None:
    """A Redis to ring bells on."""
    given = os.environ.get("TEST_REDIS_URL")
    if given:
        return given
    if shutil.which("redis-server"):
        return _started_redis()
    found = "redis://127.0.0.1:6379/0"
    return found if _redis_answers(found) else None


@lru_cache(maxsize=1)
def s3_url() -> str:
    """A server that speaks S3; any credentials will do."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    folder = Path(tempfile.mkdtemp(prefix="tunedeck-s3-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    _serve(command, lambda: _s3_answers(url), None, folder)
    scope = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    httpx.put(f"{url}/{BUCKET}", headers={"authorization": scope}).raise_for_status()
    return url


def _s3_answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/moto-api/", timeout=2).is_success
    except httpx.TransportError:
        return False


def _found_postgres() -> str | None:
    users = dict.fromkeys(("postgres", getpass.getuser()))
    candidates = (f"postgresql://{user}@127.0.0.1:5432/{name}" for user in users for name in ("postgres", "test"))
    return next((url for url in candidates if _postgres_answers(url)), None)


def _postgres_answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _fresh_database(server: str) -> str:
    name = f"tunedeck_test_{secrets.token_hex(4)}"
    _administer(server, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    atexit.register(_administer, server, drop)
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


def _administer(server: str, statement: sql.Composed) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement)


def _started_postgres() -> str | None:
    """A server of our own, from Debian's or the PATH's binaries; as root it runs as the user `postgres`."""
    binaries = _postgres_binaries()
    if binaries is None:
        return None
    folder = Path(tempfile.mkdtemp(prefix="tunedeck-pg-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    user = "postgres" if os.getuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    data, port = folder / "data", _free_port()
    init = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"]
    subprocess.run(init, user=user, check=True, capture_output=True, cwd=folder)
    listen = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    _serve([str(binaries / "postgres"), "-D", str(data), *listen], lambda: _postgres_answers(url), user, folder)
    return url


def _postgres_binaries() -> Path | None:
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda folder: float(folder.parent.name))


def _started_redis() -> str:
    folder = Path(tempfile.mkdtemp(prefix="tunedeck-redis-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    port = _free_port()
    url = f"redis://127.0.0.1:{port}/0"
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    _serve(command, lambda: _redis_answers(url), None, folder)
    return url


def _redis_answers(url: str) -> bool:
    with redis.Redis.from_url(url, socket_connect_timeout=2) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def _serve(command: list[str], answers: Callable[[], bool], user: str | None, folder: Path) -> None:
    """Start a server, wait until it answers, and have it stopped when the session ends."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, user=user, cwd=folder, stdin=quiet, stdout=quiet, stderr=quiet)
    atexit.register(_stop, process)
    give_up = time.monotonic() + _START_SECONDS
    while not answers():
        if process.poll() is not None or time.monotonic() > give_up:
            pytest.fail(f"{command[0]} did not start (exit code {process.poll()}).")
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # Postgres: a fast shutdown; Redis: an ordinary one
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
