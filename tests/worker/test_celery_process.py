"""The real worker process: embedded broker, Celery, claim, child, tidy end."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from app.core.context import Context, make_context
from app.core.settings import Settings
from app.domain.datasets import service as datasets
from app.domain.datasets.models import DatasetState
from app.domain.workers import service as workers
from app.domain.workers.models import Worker
from app.supervisor import Broker
from tests import services

ROW = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}


@pytest.fixture(params=["embedded", "redis"])
def broker_settings(request: pytest.FixtureRequest, settings: Settings, ctx: Context) -> Iterator[Settings]:
    if request.param == "redis":
        url = services.needed(services.redis_url(), "Redis")
        yield settings.model_copy(update={"redis_url": url})
        return
    broker = Broker(settings)
    broker.start()
    yield settings
    broker.stop()


def start_worker(settings: Settings, queue: str, output: Path, **more: str) -> subprocess.Popen[bytes]:
    env = dict(os.environ) | {"TUNEDECK_DATA_DIR": str(settings.root), "TUNEDECK_REDIS_URL": settings.redis_url} | more
    with output.open("wb") as file:
        command = [sys.executable, "-P", "-m", "worker.celery_app", queue]
        return subprocess.Popen(command, env=env, stdout=file, stderr=file, start_new_session=True)


def wait_for(condition: object, seconds: float = 40) -> None:
    assert callable(condition)
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)


def upload(ctx: Context) -> int:
    """A data set that waits for its intake."""
    ctx.storage.make_parent("datasets/a.jsonl").write_text(json.dumps(ROW) + "\n")
    with ctx.db.session(write=True) as session:
        made = datasets.create_from_upload(
            session, ctx.bells, name="a", filename="a.jsonl", size=1, sha256="0", source_key="datasets/a.jsonl"
        )
        return made.id or 0


def ready(ctx: Context, dataset_id: int) -> bool:
    with ctx.db.session() as session:
        return datasets.get_dataset(session, dataset_id).state == DatasetState.READY


@pytest.mark.slow
def test_a_worker_that_does_not_hear_starts_anew(settings: Settings, ctx: Context, tmp_path: Path) -> None:
    """Its working process stands still, as if it hung for good: what rings is lost on it."""
    url = services.needed(services.redis_url(), "Redis")
    deaf = settings.model_copy(update={"redis_url": url})
    process = start_worker(deaf, "light", tmp_path / "worker.log", TUNEDECK_WORKER__DEAF_SECONDS="3")
    ctx = make_context(deaf)
    try:
        wait_for(lambda: bool(psutil.Process(process.pid).children()))
        wait_for(lambda: bool(workers_of(ctx)))
        stand_still(psutil.Process(process.pid).children(), settings)
        made = upload(ctx)
        wait_for(lambda: ready(ctx, made), 120)
        assert "starts anew" in (tmp_path / "worker.log").read_text()
        assert process.poll() is None  # in the same process, so that whoever minds it sees no end
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        ctx.db.dispose()


def stand_still(children: list[psutil.Process], settings: Settings) -> None:
    """Stop them where they hold no lock: one stopped in the middle of a write would keep everybody from writing."""
    while True:
        for child in children:
            child.suspend()
        try:
            with closing(sqlite3.connect(settings.root / "tunedeck.db", timeout=1, isolation_level=None)) as db:
                db.execute("begin immediate")
            return
        except sqlite3.OperationalError:
            for child in children:
                child.resume()
            time.sleep(0.1)


def workers_of(ctx: Context) -> list[Worker]:
    with ctx.db.session() as session:
        return workers.list_workers(session)


@pytest.mark.slow
def test_an_upload_is_taken_in_by_the_worker_process(broker_settings: Settings, tmp_path: Path) -> None:
    ctx = make_context(broker_settings)
    process = start_worker(broker_settings, "light", tmp_path / "worker.log")
    try:

        def served() -> bool:
            with ctx.db.session() as session:
                return workers.someone_serves(session, "light")

        wait_for(served)
        made = upload(ctx)
        wait_for(lambda: ready(ctx, made))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0, (tmp_path / "worker.log").read_text()
        with ctx.db.session() as session:
            assert workers.list_workers(session) == []
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        ctx.db.dispose()
