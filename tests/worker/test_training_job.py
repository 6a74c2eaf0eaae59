"""Real trainings of a tiny model through the runner: killed, paused, cancelled, deleted, and always told truly."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from sqlmodel import select

from app.core.context import Context
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.evaluations.service import answer_pairs, scores
from app.domain.exports.service import list_artifacts
from app.domain.jobs import joblog
from app.domain.jobs import service as jobs
from app.domain.jobs.config import Question, TrainConfig
from app.domain.jobs.launch import launch_training
from app.domain.jobs.models import Job, JobAttempt
from app.domain.jobs.states import FINAL, JobState
from app.domain.jobs.sweeper import Sweeper
from app.domain.metrics.service import latest, series
from tests.tiny_model import tiny_rows
from worker.runner import Runner

pytestmark = pytest.mark.slow
STEPS = 30


def launch(ctx: Context, model: Path, **changes: object) -> int:
    """A tiny training on ready rows."""
    ctx.settings.models.local_roots = [model.parent]
    key = "datasets/tiny.jsonl"
    ctx.storage.make_parent(key).write_text("".join(json.dumps(row) + "\n" for row in tiny_rows(40)))
    wish = {
        "base_model": str(model),
        "max_steps": STEPS,
        "learning_rate": 1e-2,
        "save_steps": 5,
        "eval_steps": 10,
        "max_new_tokens": 4,
        "questions": (Question(prompt="Say red then blue."),),
    }
    with ctx.db.session(write=True) as session:
        dataset = Dataset(name="tiny", filename="tiny.jsonl", size=1, sha256="0", source_key=key, rows_key=key)
        dataset.state, dataset.row_count, dataset.format = DatasetState.READY, 40, "messages"
        session.add(dataset)
        session.flush()
        config = TrainConfig.model_validate(wish | changes)
        job = launch_training(session, ctx.bells, ctx.settings, dataset_id=dataset.id or 0, name="tiny", config=config)
        return job.id or 0


def job_of(ctx: Context, job_id: int) -> Job:
    with ctx.db.session() as session:
        return session.get_one(Job, job_id)


def run_to_rest(ctx: Context, job_id: int, seconds: float = 200) -> Job:
    """Work the queue until the job rests: final, or paused."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        Runner(ctx, "w", "gpu").run_waiting()
        job = job_of(ctx, job_id)
        if job.job_state in FINAL or job.state == JobState.PAUSED:
            return job
        time.sleep(0.5)
    pytest.fail(f"the job did not come to rest: {job_of(ctx, job_id)}")


def when_at_step(ctx: Context, job_id: int, step: int, act: Callable[[], None]) -> threading.Thread:
    """Do something once the running job has reached a step."""

    def watch() -> None:
        until = time.monotonic() + 150
        while time.monotonic() < until:
            if job_of(ctx, job_id).step >= step:
                act()
                return
            time.sleep(0.02)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def trainer_of(job_id: int) -> psutil.Process:
    """The child process of a job."""
    for child in psutil.Process().children(recursive=True):
        line = child.cmdline()
        if "worker.trainer" in line and f"/runs/{job_id}/" in line[-1]:
            return child
    raise AssertionError("no trainer runs")


def curve(ctx: Context, job_id: int) -> dict[int, float]:
    with ctx.db.session() as session:
        return dict(zip(*series(session, job_id, ["loss"])["loss"], strict=True))


def test_a_job_that_is_killed_or_paused_ends_like_one_that_ran_through(any_ctx: Context, tiny_model: Path) -> None:
    ctx = any_ctx
    straight = launch(ctx, tiny_model)
    done = run_to_rest(ctx, straight)
    assert (done.state, done.step, done.total_steps, done.losses) == ("succeeded", STEPS, STEPS, 0)
    with ctx.db.session() as session:
        pair = answer_pairs(session, done)[0]
        assert pair.before is not None
        assert pair.after is not None
        assert {"before", "after"} == set(scores(session, straight)["eval_loss"])
        assert [a.kind for a in list_artifacts(session, straight)] == ["adapter"]
        events = jobs.events_after(session, straight, 0, 10_000)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))

    ctx.settings.worker.beat_seconds = 0.05  # the pause must be heard before so short a training ends by itself
    broken = launch(ctx, tiny_model)
    killed = when_at_step(ctx, broken, 12, lambda: trainer_of(broken).send_signal(signal.SIGKILL))

    def pause() -> None:
        with ctx.db.session(write=True) as session:
            jobs.pause(session, ctx.bells, broken)

    run_once_killed = run_until_lost(ctx, broken)
    killed.join()
    assert run_once_killed == ("queued", 1)
    when_at_step(ctx, broken, 17, pause)
    assert run_to_rest(ctx, broken).state == "paused"
    with ctx.db.session(write=True) as session:
        jobs.resume(session, ctx.bells, broken)
    again = run_to_rest(ctx, broken)
    assert (again.state, again.step, again.attempt) == ("succeeded", STEPS, 3)
    assert curve(ctx, broken) == curve(ctx, straight)
    with ctx.db.session() as session:
        assert latest(session, broken)["eval_loss"] == latest(session, straight)["eval_loss"]
        outcomes = [a.outcome for a in session.exec(select(JobAttempt).where(JobAttempt.job_id == broken))]
    assert outcomes == ["lost", "paused", "succeeded"]


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(ctx: Context, tiny_model: Path) -> None:
    ctx.settings.worker.beat_seconds = 0.05
    job_id = launch(ctx, tiny_model, max_steps=400, save_steps=5, eval_steps=400, questions=())

    def pause() -> None:
        with ctx.db.session(write=True) as session:
            jobs.pause(session, ctx.bells, job_id)

    when_at_step(ctx, job_id, 12, pause)
    assert run_to_rest(ctx, job_id).state == "paused"
    with ctx.db.session() as session:
        newest = jobs.newest_checkpoint(session, job_id)
    assert newest is not None
    weights = ctx.storage.path(newest.storage_key) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with ctx.db.session(write=True) as session:
        jobs.resume(session, ctx.bells, job_id)
    when_at_step(ctx, job_id, newest.step + 3, pause)
    again = run_to_rest(ctx, job_id)
    assert (again.state, again.attempt) == ("paused", 2)
    with ctx.db.session() as session:
        begun = session.get_one(JobAttempt, (job_id, 2)).from_step
        told = [event.payload.get("message") for event in joblog.log_lines(session, job_id)]
    assert 0 < begun < newest.step
    said = f"The checkpoint at step {newest.step} is damaged or incomplete. Going on from the one at step {begun}."
    assert told.count(said) == 1
    assert f"Going on from the checkpoint at step {begun}." in told
    assert list(curve(ctx, job_id)) == list(range(1, again.step + 1))


def run_until_lost(ctx: Context, job_id: int) -> tuple[str, int]:
    Runner(ctx, "w", "gpu").run_waiting()
    job = job_of(ctx, job_id)
    return job.state, job.losses


def test_a_cancelled_job_leaves_at_once_and_a_deleted_one_leaves_no_files(ctx: Context, tiny_model: Path) -> None:
    job_id = launch(ctx, tiny_model, max_steps=5000, save_steps=5000, eval_steps=5000)

    def delete() -> None:
        with ctx.db.session(write=True) as session:
            jobs.delete(session, ctx.bells, job_id)

    when_at_step(ctx, job_id, 3, delete)
    job = run_to_rest(ctx, job_id)
    assert job.state == "cancelled"
    assert 3 <= job.step < 4000
    Sweeper(ctx).look()
    assert not ctx.storage.path(f"runs/{job_id}").exists()


def test_a_worker_that_is_told_to_stop_saves_and_gives_the_job_back(ctx: Context, tiny_model: Path) -> None:
    job_id = launch(ctx, tiny_model, max_steps=5000, save_steps=5000, eval_steps=5000)
    stop = threading.Event()
    when_at_step(ctx, job_id, 3, stop.set)
    Runner(ctx, "w", "gpu", stop.is_set).run_waiting()
    job = job_of(ctx, job_id)
    assert (job.state, job.losses) == ("queued", 0), job.error
    with ctx.db.session() as session:
        last = jobs.newest_checkpoint(session, job_id)
    assert last is not None
    assert (last.reason, last.step) == ("drain", job.step)


def test_a_child_whose_runner_falls_silent_ends_itself(ctx: Context, tiny_model: Path) -> None:
    ctx.settings.worker.lease_seconds = 3.0
    ctx.settings.worker.beat_seconds = 0.5
    job_id = launch(ctx, tiny_model, max_steps=5000, save_steps=5000, eval_steps=5000)
    pids: list[int] = []

    def freeze() -> None:
        pids.append(trainer_of(job_id).pid)
        ctx.settings.worker.beat_seconds = 3600.0  # the runner goes on, but renews nothing any more

    when_at_step(ctx, job_id, 3, freeze)
    Runner(ctx, "w", "gpu").run_waiting()
    assert pids
    assert not psutil.pid_exists(pids[0])
    assert (job_of(ctx, job_id).state, job_of(ctx, job_id).losses) == ("queued", 1)


def test_a_model_that_is_not_there_fails_with_a_sentence(ctx: Context, tiny_model: Path) -> None:
    job_id = launch(ctx, tiny_model)
    with ctx.db.session(write=True) as session:
        row = session.get_one(Job, job_id)
        row.config = row.config | {"base_model": "nobody/nothing"}
    job = run_to_rest(ctx, job_id)
    assert job.state == "failed"
    assert job.error["class"] in ("model_not_found", "hub_unreachable")
    assert "nobody/nothing" in job.error["message"]
    assert job.error["advice"]


def test_the_child_sees_neither_the_database_nor_the_key(
    ctx: Context, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://canary")
    monkeypatch.setenv("TUNEDECK_SECRET_KEY", "canary")
    job_id = launch(ctx, tiny_model, max_steps=4)
    seen: list[str] = []
    when_at_step(ctx, job_id, 1, lambda: seen.append(Path(f"/proc/{trainer_of(job_id).pid}/environ").read_text()))
    run_to_rest(ctx, job_id)
    assert seen
    assert "canary" not in seen[0]
    assert os.environ["TUNEDECK_SECRET_KEY"] == "canary"
