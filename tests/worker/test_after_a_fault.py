"""What the durability runs found, once each and without chance."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.messaging import Producer
from kombu.transport.redis import Channel

from app.core.context import Context, make_context
from app.core.db import utcnow
from app.core.live import CHANNEL, Bell
from app.core.settings import Settings
from app.domain.jobs import fence, service
from app.domain.jobs.models import Job
from app.domain.jobs.states import JobKind
from app.domain.workers import service as workers
from tests.chaos.servers import Server, redis_server
from tests.services import needed
from worker.child import LEASE_ENV
from worker.ears import ForgivingQoS
from worker.presence import Presence
from worker.trainer.protocol import Emitter, Log, parse


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[tuple[Server, str]]:
    needed(shutil.which("redis-server"), "Redis")
    server, url = redis_server(tmp_path / "redis")
    server.start()
    server.wait()
    yield server, url
    for pid in server.pids():
        os.kill(pid, signal.SIGCONT)
    server.kill()


def test_a_ring_whose_acknowledgement_is_lost_does_not_deafen_the_worker(
    broker: tuple[Server, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Channel, "QoS", ForgivingQoS)
    server, url = broker
    with Connection(url) as connection:
        channel = connection.channel()
        queue = Queue("gpu", channel=channel)
        queue.declare()
        channel.basic_qos(0, 1, False)
        Producer(channel).publish({}, routing_key="gpu")
        message = queue.get(no_ack=False)
        assert message is not None
        assert not channel.qos.can_consume()
        server.kill()
        with pytest.raises((redis.RedisError, OSError)):
            message.ack()
        assert channel.qos.can_consume()


def test_a_broker_that_hangs_costs_one_wait(broker: tuple[Server, str]) -> None:
    server, url = broker
    bell = Bell(url)
    with redis.Redis.from_url(url) as client, client.pubsub() as channel:
        channel.subscribe(CHANNEL)
        assert channel.get_message(timeout=10) is not None
        os.kill(server.pids()[0], signal.SIGSTOP)
        for number in range(200):
            bell.ring(number)
        os.kill(server.pids()[0], signal.SIGCONT)
        heard = [message["data"] for _ in range(200) if (message := channel.get_message(timeout=0.05))]
    assert len(heard) < 20, "it hears late what was sent, and the others were not sent"


def test_renewals_that_are_out_of_date_keep_no_trainer_alive(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("{}")
    code = "import sys, time, worker.child as c; sys.exit(c.run(lambda child: time.sleep(600)))"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        env=os.environ | {LEASE_ENV: "1"},
        start_new_session=True,
        text=True,
    )
    assert child.stdin is not None
    said, until = time.monotonic(), time.monotonic() + 120
    child.stdin.write("{}\n")
    while child.poll() is None and time.monotonic() < until:
        try:
            child.stdin.write(f"{said!r}\n")
            child.stdin.flush()
        except BrokenPipeError:
            break
        time.sleep(0.05)
    try:
        assert child.wait(timeout=60) == -signal.SIGKILL
    finally:
        child.kill()
        child.wait()
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()


def test_a_line_cut_short_by_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    emitter = Emitter(tmp_path)
    emitter.log("one")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "events.jsonl").stat().st_size + 10, hard))
    try:
        with pytest.raises(OSError, match="large"):
            emitter.log("two")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    emitter.log("three")
    emitter.close()
    events = [parse(line) for line in (tmp_path / "events.jsonl").read_bytes().splitlines()]
    assert [event.message for event in events if isinstance(event, Log)] == ["one", "three"]


def test_a_clock_that_ran_ahead_holds_no_job_back(any_ctx: Context) -> None:
    with any_ctx.db.session(write=True) as session:
        job = service.enqueue(session, any_ctx.bells, kind=JobKind.TRAIN, subject_id=1, name="x", config={})
        job.not_before = utcnow() + timedelta(days=1)
    with any_ctx.db.session(write=True) as session:
        assert service.waiting_queues(session) == ["gpu"]
        assert service.claim(session, "gpu", "w") is not None


def test_no_number_of_losses_is_too_large_for_the_wait(ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        service.enqueue(session, ctx.bells, kind=JobKind.TRAIN, subject_id=1, name="x", config={}).losses = 1000
    with ctx.db.session(write=True) as session:
        taken = service.claim(session, "gpu", "w")
        assert taken is not None
        own = fence.Ownership(taken.id or 0, taken.attempt)
        assert fence.lose(session, own, max_losses=5000, error={}) == "queued"
        waits = session.get_one(Job, own.job_id).not_before
    assert waits is not None
    assert waits <= utcnow() + service.LONGEST_WAIT


def test_a_worker_that_starts_before_its_database_appears_later(
    settings: Settings, migrated_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "HELLO_SECONDS", 0.05)
    away = tmp_path / "away"
    ctx = make_context(settings.model_copy(update={"database_url": f"sqlite:///{away}/tunedeck.db"}), worker=True)
    presence = Presence(ctx, "w", "gpu")
    presence.start()
    time.sleep(0.3)
    away.mkdir()
    (away / "tunedeck.db").write_bytes(migrated_sqlite.read_bytes())
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with ctx.db.session() as session:
                if workers.someone_serves(session, "gpu"):
                    break
            time.sleep(0.05)
        else:
            pytest.fail("it never said hello")
    finally:
        presence.stop()
        ctx.db.dispose()
