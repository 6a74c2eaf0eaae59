"""Live pages over a real server: every event once, in order, whatever breaks off."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from app.core.context import Context, make_context
from app.core.live import Bell
from app.core.settings import Settings, WebSettings
from app.domain.jobs import service as jobs
from app.domain.jobs.states import JobKind, JobState
from app.main import create_app
from app.web import hub, news, stream
from tests import services
from tests.web import seeding

Event = tuple[str, int, dict[str, Any]]


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """The application in a real server on a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(create_app(settings), log_level="warning", timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive(), "an open stream outlived the server"


@pytest.fixture
def server(ctx: Context) -> Iterator[str]:
    with serving(ctx.settings) as address:
        yield address


@pytest.fixture
def running(ctx: Context) -> int:
    with ctx.db.session(write=True) as session:
        job = seeding.training(session, ctx, seeding.dataset(session, ctx))
        seeding.run(session, job, steps=5)
        return job.id or 0


def events(answer: httpx.Response) -> Iterator[Event]:
    """The named messages of a stream."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields["event"], int(fields.get("id", 0)), json.loads(fields.get("data", "{}"))
            fields = {}


@contextmanager
def listening(address: str, path: str, **headers: str) -> Iterator[Iterator[Event]]:
    with httpx.stream("GET", address + path, headers=headers, timeout=20) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in answer.headers
        yield events(answer)


def take(found: Iterator[Event], count: int) -> list[Event]:
    return [next(found) for _ in range(count)]


def log_line(ctx: Context, job_id: int, text: str) -> None:
    with ctx.db.session(write=True) as session:
        seeding.event(session, job_id, "log", {"level": "info", "message": text})


def test_what_was_missed_comes_first_and_nothing_twice(ctx: Context, server: str, running: int) -> None:
    with listening(server, f"/jobs/{running}/events?after=2") as found:
        missed = take(found, 5)
        assert [seq for _, seq, _ in missed] == [3, 4, 5, 6, 7]
        assert missed[0][0] == "metric"
        assert missed[0][2] | {"at": ""} == {
            "step": 1,
            "attempt": 1,
            "at": "",
            "seq": 3,
            "values": {"loss": 3.0},
            "total_steps": 10,
        }
        for number in range(3):
            log_line(ctx, running, f"line {number}")
        assert [(kind, seq) for kind, seq, _ in take(found, 3)] == [("log", 8), ("log", 9), ("log", 10)]


def test_after_a_break_it_goes_on_where_it_was(ctx: Context, server: str, running: int) -> None:
    for number in range(5):
        log_line(ctx, running, f"line {number}")
    with listening(server, f"/jobs/{running}/events?after=0", **{"last-event-id": "9"}) as found:
        assert [seq for _, seq, _ in take(found, 3)] == [10, 11, 12]


@pytest.mark.parametrize("given", ["x", "-3", "1e3", "9" * 30 + "x", ""])
def test_a_broken_last_event_id_is_overlooked(server: str, running: int, given: str) -> None:
    with listening(server, f"/jobs/{running}/events?after=6", **{"last-event-id": given}) as found:
        assert next(found)[1] == 7


def test_too_far_behind_the_page_is_told_to_fetch_again(
    ctx: Context, server: str, running: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_BEHIND", 3)
    with listening(server, f"/jobs/{running}/events?after=1") as found:
        assert next(found)[:2] == ("reset", 7)
        log_line(ctx, running, "new")
        assert next(found)[:2] == ("log", 8)


@pytest.mark.parametrize("settled", [0, 0.05, 1.5])
def test_the_end_is_told_and_the_stream_closes(ctx: Context, server: str, running: int, settled: float) -> None:
    with listening(server, f"/jobs/{running}/events?after=7") as found:
        time.sleep(settled)
        with ctx.db.session(write=True) as session:
            jobs.move(session, running, [JobState.RUNNING], JobState.SUCCEEDED)
        assert [kind for kind, _, _ in found] == ["state", "end"]
    with listening(server, f"/jobs/{running}/events?after=8") as found:
        assert [kind for kind, _, _ in found] == ["end"]


def test_a_finished_training_follows_its_exports(ctx: Context, server: str, running: int) -> None:
    with ctx.db.session(write=True) as session:
        job = jobs.get_job(session, running)
        seeding.finish(session, ctx, job)
        export = jobs.enqueue(session, ctx.bells, kind=JobKind.EXPORT, subject_id=running, name="x", config={})
    with listening(server, f"/jobs/{running}/events?after=8") as found:
        time.sleep(1.2)
        with ctx.db.session(write=True) as session:
            seeding.end(session, export)
        told = list(found)
    assert told[-1][0] == "end"
    assert ("related", {"job": export.id, "state": "succeeded"}) in [(kind, data) for kind, _, data in told]


def test_a_stream_lives_only_so_long(ctx: Context, running: int) -> None:
    settings = ctx.settings.model_copy(update={"web": WebSettings(stream_seconds=1)})
    with serving(settings) as address:
        for path in (f"/jobs/{running}/events?after=7", "/changed"):
            with listening(address, path) as found:
                assert [kind for kind, _, _ in found][-1] == "bye"


def test_lists_hear_of_a_change_at_most_once_a_second(ctx: Context, server: str, running: int) -> None:
    with listening(server, "/changed") as found:
        begun = time.monotonic()
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                log_line(ctx, running, "x")
                time.sleep(0.05)

        writer = threading.Thread(target=write)
        writer.start()
        assert [kind for kind, _, _ in take(found, 3)] == ["changed"] * 3
        took = time.monotonic() - begun
        stop.set()
        writer.join()
    assert took > 1.5  # two gaps of a second each, as seen from here; without them a tenth of that


def test_a_slow_reader_is_closed_and_resumes(ctx: Context) -> None:
    watcher = hub.Watcher()
    watcher.give(news.encode("log", {}, n) for n in range(1, hub.QUEUE_SIZE + 2))
    assert watcher.overflowed
    assert watcher.queue.qsize() == hub.QUEUE_SIZE


def test_the_bell_brings_an_event_without_a_look(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "LOOK_SECONDS", 18)  # only the bell can help in time
    redis = services.needed(services.redis_url(), "Redis")
    settings = ctx.settings.model_copy(update={"redis_url": redis})
    ring = make_context(settings)
    with ring.db.session(write=True) as session:
        job = seeding.training(session, ring, seeding.dataset(session, ring))
        seeding.run(session, job, steps=1)
        job_id = job.id or 0
    with serving(settings) as address, listening(address, f"/jobs/{job_id}/events?after=3") as found:
        time.sleep(1.5)
        told = [_round_trip(ring, job_id, found, number) for number in range(17)]
    ring.db.dispose()
    assert told == [str(number) for number in range(17)]


def _round_trip(ctx: Context, job_id: int, found: Iterator[Event], number: int) -> str:
    with ctx.db.session(write=True) as session:
        seeding.event(session, job_id, "log", {"message": str(number)})
        ctx.bells.changed(session, job_id)
    return str(next(found)[2]["message"])


def test_a_broker_that_comes_late_is_heard(ctx: Context, running: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "LOOK_SECONDS", 18)  # only the bell can help in time
    monkeypatch.setattr(hub, "RECONNECT_SECONDS", 0.1)
    redis = services.needed(services.redis_url(), "Redis")
    settings = ctx.settings.model_copy(update={"redis_url": redis})
    with serving(settings) as address, listening(address, f"/jobs/{running}/events?after=7") as found:
        time.sleep(1)
        log_line(ctx, running, "heard")
        Bell(redis).ring(running)
        assert next(found)[2]["message"] == "heard"


def test_an_unknown_job_has_no_stream(server: str) -> None:
    assert httpx.get(f"{server}/jobs/999/events").status_code == 404
