"""Whoever can write to Redis can ring bells, and nothing else: no code runs, nothing is steered, work goes on."""

from __future__ import annotations

import base64
import json
import os
import pickle
import re
import signal
import subprocess
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from app.core.context import Context, make_context
from app.core.live import CHANNEL
from app.core.queue import RING, make_celery
from app.core.settings import Settings
from app.supervisor import Broker
from app.web.attendance import streams
from tests.hostile.site import Site
from tests.web import seeding
from tests.worker.test_celery_process import ready, start_worker, upload, wait_for, workers_of


@dataclass
class Attacked:
    """A really running worker, and the broker that somebody else reaches."""

    ctx: Context
    process: subprocess.Popen[bytes]
    broker: redis.Redis
    log: Path
    canary: Path

    def forge(self, body: bytes, content_type: str = "application/json", **headers: Any) -> None:
        """Put a message into the worker's queue, as kombu writes them."""
        tag = str(uuid.uuid4())
        head = {"lang": "py", "task": RING, "id": tag, "root_id": tag, "argsrepr": "", "kwargsrepr": ""} | headers
        properties = {
            "correlation_id": tag,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "light"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": tag,
        }
        self.put(
            {
                "body": base64.b64encode(body).decode(),
                "content-encoding": "utf-8",
                "content-type": content_type,
                "headers": head,
                "properties": properties,
            }
        )

    def put(self, envelope: object) -> None:
        """Anything at all into the queue."""
        self.broker.lpush("light", envelope if isinstance(envelope, bytes) else json.dumps(envelope))

    def task(self, name: str, args: object, embed: object = None, **headers: Any) -> None:
        """A well-formed message for any task."""
        self.forge(json.dumps([args, {}, embed or {}]).encode(), task=name, **headers)

    def still_works(self) -> None:
        """All was read, the process is the same, and a real upload is taken in."""
        wait_for(lambda: self.broker.llen("light") == 0 or self.process.poll() is not None, 60)
        made = upload(self.ctx)
        wait_for(lambda: ready(self.ctx, made), 60)
        assert self.process.poll() is None, self.log.read_text()
        assert not self.canary.exists()
        assert self.broker.llen("evil") == 0


@pytest.fixture
def attacked(settings: Settings, ctx: Context, tmp_path: Path) -> Iterator[Attacked]:
    broker = Broker(settings)
    broker.start()
    log = tmp_path / "worker.log"
    process = start_worker(settings, "light", log, TUNEDECK_WORKER__CELERY_EVENTS="true")
    here = make_context(settings)
    try:
        wait_for(lambda: bool(workers_of(here)), 60)
        with redis.Redis.from_url(settings.redis) as client:
            yield Attacked(here, process, client, log, tmp_path / "ran")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        here.db.dispose()
        broker.stop()


def memory_of(pid: int) -> int:
    """The most it ever held, in bytes."""
    file = Path(f"/proc/{pid}/status")
    found = re.findall(r"VmHWM:\s+(\d+) kB", file.read_text()) if file.exists() else []
    return int(found[0]) * 1024 if found else 0


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.slow
def test_forged_messages_do_nothing_but_ring(attacked: Attacked) -> None:
    canary = str(attacked.canary)
    evil = pickle.dumps([[_Evil(attacked.canary)], {}, {}])
    yaml = f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{canary}']]".encode()
    for kind in ("application/x-python-serialize", "application/x-yaml", "application/x-msgpack", "x" * 5000, ""):
        attacked.forge(evil, kind)
        attacked.forge(yaml, kind)
    for name in ("os.system", "subprocess.run", "builtins.eval", "celery.backend_cleanup", "a\nb\x1b[2J", RING + "x"):
        attacked.task(name, [f"touch {canary}"])
    signature = {"task": RING, "args": ["light"], "kwargs": {}, "options": {"queue": "evil"}, "subtask_type": None}
    for name in ("celery.map", "celery.starmap", "celery.chunks", "celery.group", "celery.chain", "celery.accumulate"):
        attacked.task(name, [signature, [["light"]] * 10])
    odd: list[object] = [[], ["gpu"], ["evil"], [{"a": 1}], ["../../x"], ["light", 1], [None], [["light"]], "light"]
    for args in odd:
        attacked.task(RING, args)
    more = {"callbacks": [signature], "errbacks": [signature], "chord": signature, "chain": [signature]}
    attacked.task(RING, ["light"], more)
    attacked.task(RING, ["gpu"], {"errbacks": [signature]})
    attacked.task(RING, ["light"], ignore_result=False, reply_to="evil", group="x" * 10_000)
    attacked.task(RING, ["light" * 1_000_000])
    bomb = zlib.compress(bytes(300_000_000), 9)  # what kombu means by that name
    before = memory_of(attacked.process.pid)
    attacked.forge(bomb, compression="application/x-gzip")
    attacked.still_works()
    assert memory_of(attacked.process.pid) - before < 100_000_000
    attacked.forge(b"[" * 100_000)
    attacked.forge(b"not json")
    attacked.forge(b'[[{"__type__": "os.system", "__value__": "id"}], {}, {}]')
    attacked.still_works()
    text = attacked.log.read_text()
    assert "\x1b" not in text


@pytest.mark.slow
def test_what_is_no_message_at_all_is_thrown_away(attacked: Attacked) -> None:
    odd: list[object] = [
        b"",
        b"\xff\xfe",
        b"not json",
        b"[" * 100_000,
        b"9" * 100_000,
        [],
        {},
        {"body": 1},
        None,
        "x",
        7,
    ]
    halves: list[dict[str, object]] = [{"headers": None}, {"properties": {}}, {"properties": {"delivery_tag": "x"}}]
    whole = {"body": "!", "content-type": "application/json", "content-encoding": "utf-8"}
    for envelope in (*odd, *(whole | half for half in halves)):
        attacked.put(envelope)
    attacked.still_works()


@pytest.mark.slow
def test_remote_control_steers_nothing(attacked: Attacked) -> None:
    """It is on for this worker, as Flower needs it; elsewhere nobody listens at all."""
    control = make_celery(attacked.ctx.settings.broker).control
    assert any(control.ping(timeout=5) for _ in range(12))  # a busy machine takes its time
    for command, arguments in (
        ("shutdown", {}),
        ("pool_restart", {"modules": ["antigravity"], "reload": True}),
        ("pool_shrink", {"n": 1}),
        ("pool_grow", {"n": 50}),
        ("autoscale", {"max": 50, "min": 50}),
        ("add_consumer", {"queue": "evil"}),
        ("cancel_consumer", {"queue": "light"}),
        ("revoke", {"task_id": ["x"] * 1_000, "terminate": True, "signal": "SIGKILL"}),
        ("terminate", {"task_id": "x", "signal": "SIGKILL"}),
        ("rate_limit", {"task_name": RING, "rate_limit": "1/h"}),
        ("time_limit", {"task_name": RING, "soft": 0.001, "hard": 0.001}),
        ("objgraph", {}),
        ("memdump", {}),
        ("conf", {"with_defaults": True}),
        ("no_such_command", {}),
    ):
        control.broadcast(command, arguments=arguments)
    answers = control.broadcast("conf", reply=True, timeout=1)
    assert "secret" not in str(answers)
    assert len(psutil.Process(attacked.process.pid).children()) == 1
    attacked.task(RING, ["light"])
    attacked.still_works()


def test_forged_bells_wake_nobody_for_good(site: Site) -> None:
    """The web process hears what is a number, asks the database, and goes on hearing."""
    with redis.Redis.from_url(site.ctx.settings.redis) as client:
        for bell in (b"x", b"", b"-1", b"9" * 400, b"1e9", b"\xff", b"None", b"1; DROP TABLE job", b"2147483648"):
            client.publish(CHANNEL, bell)
        client.mset({"tunedeck:streams:a": "x", "tunedeck:streams:b": "9" * 5_000, "tunedeck:streams:c": "-3"})
        told = streams(site.ctx.settings.redis)
        client.delete("tunedeck:streams:a", "tunedeck:streams:b", "tunedeck:streams:c")
    assert told is not None
    assert all(0 <= number < 100 for number in told)
    with site.browser() as web, web.stream("GET", f"/jobs/{site.world.running}/events", timeout=10) as stream:
        with site.ctx.db.session(write=True) as session:
            seeding.event(session, site.world.running, "log", {"level": "info", "message": "heard after all"})
            site.ctx.bells.changed(session, site.world.running)
        start = time.monotonic()
        assert any("heard after all" in line for line in stream.iter_lines())
        assert time.monotonic() - start < 8
