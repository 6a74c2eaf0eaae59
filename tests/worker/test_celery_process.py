"""The real worker process: embedded broker, Celery, claim, child, tidy end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.context import Context, make_context
from app.core.settings import Settings
from app.domain.datasets import service as datasets
from app.domain.datasets.models import DatasetState
from app.domain.workers import service as workers
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


def start_worker(settings: Settings, queue: str, output: Path) -> subprocess.Popen[bytes]:
    env = dict(os.environ) | {"TUNEDECK_DATA_DIR": str(settings.root), "TUNEDECK_REDIS_URL": settings.redis_url}
    with output.open("wb") as file:
        command = [sys.executable, "-P", "-m", "worker.celery_app", queue]
        return subprocess.Popen(command, env=env, stdout=file, stderr=file, start_new_session=True)


def wait_for(condition: object, seconds: float = 40) -> None:
    assert callable(condition)
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)


@pytest.mark.slow
def test_an_upload_is_taken_in_by_the_worker_process(broker_settings: Settings, tmp_path: Path) -> None:
    ctx = make_context(broker_settings)
    process = start_worker(broker_settings, "light", tmp_path / "worker.log")
    try:

        def served() -> bool:
            with ctx.db.session() as session:
                return workers.someone_serves(session, "light")

        wait_for(served)
        ctx.storage.make_parent("datasets/a.jsonl").write_text(json.dumps(ROW) + "\n")
        with ctx.db.session(write=True) as session:
            made = datasets.create_from_upload(
                session, ctx.bells, name="a", filename="a.jsonl", size=1, sha256="0", source_key="datasets/a.jsonl"
            )

        def ready() -> bool:
            with ctx.db.session() as session:
                return datasets.get_dataset(session, made.id or 0).state == DatasetState.READY

        wait_for(ready)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0, (tmp_path / "worker.log").read_text()
        with ctx.db.session() as session:
            assert workers.list_workers(session) == []
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        ctx.db.dispose()
