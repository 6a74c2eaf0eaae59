"""A trainer that waits with its libraries loaded, and what becomes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from psutil import Process

from app.core.context import Context
from app.domain.jobs import service as jobs
from tests.trainer.jobs import ROOT, events, of, train_job
from tests.worker.test_training_job import curve, job_of, launch
from worker import standby
from worker.runner import Runner
from worker.standby import StandBy, memory_held
from worker.trainer.protocol import Log, Metric

pytestmark = pytest.mark.slow


@pytest.fixture
def waiting(ctx: Context) -> Iterator[StandBy]:
    """One that is started on demand, and gone afterwards."""
    ctx.settings.worker.standby = True
    ready = StandBy(ctx.settings)
    yield ready
    ready.let_go()


def until(true: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def started(waiting: StandBy) -> None:
    """Have one, whatever it has loaded so far."""
    waiting.warm()
    until(lambda: memory_held() and waiting._waiting is not None)


def log_of(ctx: Context, job_id: int) -> str:
    with ctx.db.session() as session:
        return "\n".join(str(event.payload) for event in jobs.events_after(session, job_id, 0, 10_000))


def test_a_job_of_a_standby_is_like_any_other(ctx: Context, tiny_model: Path, waiting: StandBy) -> None:
    cold = launch(ctx, tiny_model, max_steps=6)
    Runner(ctx, "w", "gpu").run_waiting()
    started(waiting)
    held = waiting
    warm = launch(ctx, tiny_model, max_steps=6)
    Runner(ctx, "w", "gpu", standby=held).run_waiting()
    assert job_of(ctx, warm).state == "succeeded", job_of(ctx, warm).error
    assert memory_held() == 0  # it served one job
    assert curve(ctx, warm) == curve(ctx, cold)
    assert (ctx.storage.path(f"runs/{warm}/a1/output.log")).exists()


def test_a_job_for_unsloth_gets_a_fresh_process(ctx: Context, tiny_model: Path, waiting: StandBy) -> None:
    started(waiting)
    job_id = launch(ctx, tiny_model, max_steps=2, engine="unsloth", questions=())
    Runner(ctx, "w", "gpu", standby=waiting).run_waiting()
    job = job_of(ctx, job_id)
    assert job.state == "succeeded", job.error
    assert "Engine unsloth, as chosen." in log_of(ctx, job_id)


def test_unsloth_is_loaded_too_where_there_is_a_gpu(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    assert StandBy(ctx.settings)._engine() == []
    monkeypatch.setattr(standby, "seen_gpus", lambda _: [{"name": "a card"}])
    assert StandBy(ctx.settings)._engine() == ["unsloth"]
    ctx.settings.worker.standby_unsloth = False
    assert StandBy(ctx.settings)._engine() == []


def test_one_with_unsloth_serves_a_job_for_it_and_makes_way_for_another(tmp_path: Path, tiny_model: Path) -> None:
    told = {}
    for engine in ("unsloth", "hf"):
        folder = train_job(tmp_path / engine, tiny_model, max_steps=2, engine=engine, questions=())
        command = [sys.executable, "-m", "worker.trainer", "--wait", "1", "unsloth"]
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stdin=subprocess.PIPE, text=True)
        assert process.stdin is not None
        with process.stdin as line:
            line.write(json.dumps({"job_dir": str(folder)}) + "\n")
        told[engine] = process, folder
    for engine, (process, folder) in told.items():
        until(lambda folder=folder: of(events(folder), Metric), 200)  # type: ignore[misc]
        assert ("--wait" in Process(process.pid).cmdline()) is (engine == "unsloth")
        assert process.wait(timeout=100) == 0
        assert f"Engine {engine}, as chosen." in [log.message for log in of(events(folder), Log)]
    assert not list(tmp_path.glob("*/unsloth_compiled_cache/*"))


def test_one_that_died_is_not_used(ctx: Context, waiting: StandBy) -> None:
    started(waiting)
    found = waiting.take()
    assert found is not None
    found.close()
    assert waiting.take() is None
    started(waiting)
    waiting._waiting.process.kill()  # type: ignore[union-attr]
    waiting._waiting.process.wait()  # type: ignore[union-attr]
    assert waiting.take() is None


def test_it_goes_when_memory_is_short_and_does_not_start(
    ctx: Context, waiting: StandBy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby, "_LOOK_SECONDS", 0.1)
    started(waiting)
    monkeypatch.setattr(standby, "LEAST_FREE", 2**62)
    until(lambda: not memory_held())
    waiting.warm()
    until(lambda: not waiting._wanted.is_set())
    assert waiting.take() is None


def test_it_ends_when_its_owner_closes_the_pipe(ctx: Context, waiting: StandBy) -> None:
    started(waiting)
    found = waiting.take()
    assert found is not None
    assert found.process.stdin is not None
    found.process.stdin.close()
    assert found.process.wait(60) == 0
    os.close(found.bell)


def test_switched_off_there_is_none(ctx: Context) -> None:
    ctx.settings.worker.standby = False
    none = StandBy(ctx.settings)
    none.warm()
    assert none.take() is None
    assert memory_held() == 0
