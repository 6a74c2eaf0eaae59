"""What machines that watch are told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event
from starlette.testclient import TestClient

from app.core.context import Context, make_context
from app.core.db import utcnow
from app.core.schema import heads
from app.core.settings import Settings, resource_dir
from app.domain import figures
from app.domain.jobs.models import Job
from app.domain.workers import service as workers
from app.main import create_app
from app.web.attendance import Attendance, streams
from tests import services
from tests.web import seeding

GPU = {"index": 0, "name": "H200", "total": 150_000_000_000, "used": 40_000_000_000, "load": 87.0}


def told(client: TestClient) -> dict[tuple[str, ...], float]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    found = text_string_to_metric_families(answer.text)
    # Labels stand in the order of their names: kind before state, gpu and queue before worker.
    return {
        (s.name.removeprefix("tunedeck_"), *(value for _, value in sorted(s.labels.items()))): s.value
        for f in found
        for s in f.samples
    }


def test_an_empty_house_tells_zeros(client: TestClient) -> None:
    found = told(client)
    assert found["jobs", "train", "running"] == 0
    assert found["broker_up",] == 0, "its broker is away in this test, and everything else is told"
    assert ("open_streams",) not in found


def test_figures_of_jobs_workers_and_messages(client: TestClient, ctx: Context, world: seeding.World) -> None:
    with ctx.db.session(write=True) as session:
        for queue in ("gpu", "light"):
            workers.hello(session, name="box", queue=queue, host="h", pid=1, facts={"gpus": [GPU]})
        workers.hello(session, name="off", queue="gpu", host="h", pid=1, facts={"gpus": [GPU]})
        session.execute(sa.text("update worker set last_seen = '2026-01-01 00:00:00' where name = 'off'"))
        seeding.notifications(session, ctx)
        total = session.execute(sa.text("select count(*) from event")).scalar_one()
        session.execute(sa.update(Job).values(started_at=utcnow()).where(sa.column("id") == world.running))
    found = told(client)
    for state in ("running", "succeeded", "failed", "queued"):
        assert found["jobs", "train", state] == 1
    assert found["events_stored",] == total
    assert found["queue_oldest_wait_seconds", "gpu"] > 0
    assert found["queue_wait_seconds", "train", "max"] >= found["queue_wait_seconds", "train", "mean"] >= 0
    assert found["step_seconds", "mean"] >= 0
    assert (found["worker_up", "gpu", "box"], found["worker_up", "gpu", "off"]) == (1, 0)
    assert found["gpu_memory_used_bytes", "0", "box"] == 40e9
    assert found["gpu_load_percent", "0", "box"] == 87
    assert ("gpu_load_percent", "0", "off") not in found
    assert found["deliveries", "webhook", "failed"] == 1


def test_a_name_can_not_forge_a_line(client: TestClient, ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        workers.hello(session, name='x"} 1\ntunedeck_jobs{kind="y', queue="gpu", host="h", pid=1, facts={})
    found = told(client)
    assert [key[2] for key in found if key[0] == "worker_up"] == ['x"} 1\ntunedeck_jobs{kind="y']


@pytest.fixture
def statements(any_ctx: Context) -> Iterator[list[str]]:
    sent: list[str] = []

    def note(_c: object, _k: object, statement: str, *_rest: object) -> None:
        sent.append(statement)

    event.listen(any_ctx.db.engine, "before_cursor_execute", note)
    yield sent
    event.remove(any_ctx.db.engine, "before_cursor_execute", note)


def test_few_queries_and_few_series_however_much_there_is(any_ctx: Context, statements: list[str]) -> None:
    with any_ctx.db.session(write=True) as session:
        number = seeding.dataset(session, any_ctx)
        for each in range(30):
            seeding.run(session, seeding.training(session, any_ctx, number, f"n{each}"), steps=5)
        crowd = [GPU | {"index": index} for index in range(40)]
        for each in range(figures.MOST_WORKERS + 20):
            workers.hello(session, name=f"w{each:04}", queue="gpu", host="h", pid=1, facts={"gpus": crowd})
    statements.clear()
    with any_ctx.db.session() as session:
        found = figures.read(session)
    sent = [text for text in statements if re.match(r"\s*select", text, re.IGNORECASE)]
    assert len(sent) == 6
    assert len(found.workers) == figures.MOST_WORKERS
    assert len(figures.gpus_of(found.workers[0])) == figures.MOST_GPUS
    assert len(found.steps) == 20


def test_two_web_processes_tell_the_same_streams(settings: Settings) -> None:
    url = services.needed(services.redis_url(), "Redis")
    ctx = make_context(settings.model_copy(update={"redis_url": url}))
    before = sum(streams(url) or [])

    async def serve() -> list[int]:
        both = [Attendance(ctx, lambda: 3), Attendance(ctx, lambda: 4)]
        for each in both:
            each.start()
        async with asyncio.timeout(30):
            while sum(streams(url) or []) != before + 7:  # noqa: ASYNC110 - Redis has no event for us
                await asyncio.sleep(0.02)
        for each in both:
            await each.stop()
        return streams(url) or []

    with ThreadPoolExecutor(1) as pool:  # a browser of other tests leaves a loop running in this thread
        assert sum(pool.submit(asyncio.run, serve()).result()) == before
    ctx.db.dispose()


def test_ready_only_when_the_schema_is_this_version_s(settings: Settings, ctx: Context) -> None:
    redis_url = services.needed(services.redis_url(), "Redis")
    app = create_app(settings.model_copy(update={"redis_url": redis_url}))
    with TestClient(app, base_url="http://localhost") as browser:
        ready = browser.get("/readyz")
        assert (ready.status_code, set(ready.json().values())) == (200, {"ok"})
        with ctx.db.session(write=True) as session:
            session.execute(sa.text("update alembic_version set version_num = '0001'"))
        late = browser.get("/readyz")
        assert (late.status_code, late.json()["broker"]) == (503, "ok")
        assert late.json()["schema"] != "ok"
        assert browser.get("/healthz").status_code == 200


def test_the_newest_revision_is_the_one_alembic_names() -> None:
    assert heads() == set(ScriptDirectory(str(resource_dir("migrations"))).get_heads())


def test_an_unreachable_database_is_said_without_its_address(settings: Settings, tmp_path: Path) -> None:
    gone: dict[str, Any] = {"database_url": "postgresql://u:secret@127.0.0.1:1/x"}
    app = create_app(settings.model_copy(update=gone))
    browser = TestClient(app, base_url="http://localhost")  # not entered: its sweeper would wait for the database
    answer = browser.get("/readyz")
    assert (answer.status_code, answer.json()["database"]) == (503, "unreachable")
    assert "secret" not in answer.text
