"""What a runner meets that nobody asked for: it ends well, or it is told, and nothing is lost."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlmodel import Session

from app.core.context import Context
from app.core.db import Database
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.demo import add_sample
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Checkpoint, Job
from app.domain.jobs.states import JobKind, JobState
from app.domain.jobs.sweeper import Sweeper
from tests.worker.test_intake_job import GOOD, lines, upload
from worker.recorder import Recorder
from worker.runner import Run, Runner
from worker.trainer import protocol
from worker.workspace import Workspace


def state_of(ctx: Context, job_id: int) -> Job:
    with ctx.db.session() as session:
        return session.get_one(Job, job_id)


def test_files_of_another_databases_job_of_this_number_count_for_nothing(ctx: Context) -> None:
    folder = ctx.storage.path("runs/1/a1")
    folder.mkdir(parents=True)
    stale: list[protocol.Event] = [
        protocol.Log(message="I am another job"),
        protocol.Checkpoint(step=60, path="checkpoints/checkpoint-60", size=1),
        protocol.Done(),
    ]
    (folder / "events.jsonl").write_text("".join(line.model_dump_json() + "\n" for line in stale))
    protocol.write_control(folder, "cancel")
    dataset = upload(ctx, lines(*[GOOD] * 20))
    Runner(ctx, "w", "light").run_waiting()
    with ctx.db.session() as session:
        assert session.get_one(Dataset, dataset).row_count == 20
        assert session.execute(sa.select(sa.func.count()).select_from(Checkpoint)).scalar_one() == 0
        assert "another job" not in str([event.payload for event in jobs.events_after(session, 1, 0)])


def test_the_lease_goes_on_while_rows_are_copied(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = ctx.settings.worker
    worker.lease_seconds, worker.beat_seconds, worker.sweep_seconds = 3.0, 0.1, 0.5
    monkeypatch.setattr(Workspace, "write_rows", lambda _self, _stop: time.sleep(5))
    upload(ctx, lines(GOOD))
    sweeper = Sweeper(ctx)
    sweeper.start()
    try:
        Runner(ctx, "w", "light").run_waiting()
    finally:
        sweeper.stop()
    assert (state_of(ctx, 1).state, state_of(ctx, 1).losses) == ("succeeded", 0)


def test_an_unforeseen_error_ends_the_attempt_and_is_told(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("nobody thought of this")

    ctx.settings.worker.max_losses = 0
    monkeypatch.setattr(Recorder, "store", broken)
    upload(ctx, lines(GOOD))
    Runner(ctx, "w", "light").run_waiting()
    job = state_of(ctx, 1)
    assert job.state == "failed"
    assert job.error is not None
    assert (job.error["class"], "nobody thought of this" in job.error["message"]) == ("bug", True)
    assert "broken" in job.error["traceback"]


def test_files_go_only_after_the_last_who_writes_them(ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        training = jobs.enqueue(session, ctx.bells, kind=JobKind.TRAIN, subject_id=1, name="t", config={})
        assert jobs.move(session, training.id or 0, [JobState.QUEUED], JobState.RUNNING)
        assert jobs.move(session, training.id or 0, [JobState.RUNNING], JobState.SUCCEEDED)
        export = jobs.enqueue(session, ctx.bells, kind=JobKind.EXPORT, subject_id=training.id or 0, name="e", config={})
        assert jobs.claim(session, "light", "w") is not None
        number, maker = training.id or 0, export.id or 0
    folder = ctx.storage.make_parent(f"runs/{number}/.merged.part/model").parent
    with ctx.db.session(write=True) as session:
        jobs.delete(session, ctx.bells, number)
    Sweeper(ctx).clean()
    assert folder.exists()
    assert state_of(ctx, number).state == "succeeded"
    with ctx.db.session(write=True) as session:
        assert jobs.move(session, maker, [JobState.CANCELLING], JobState.CANCELLED)
    Sweeper(ctx).clean()
    assert not folder.exists()
    with ctx.db.session() as session:
        assert session.get(Job, number) is None


def test_a_commit_of_unknown_outcome_is_asked_after_until_there_is_an_answer(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(ctx, lines(GOOD))
    with ctx.db.session(write=True) as session:
        job = jobs.claim(session, "light", "w")
    assert job is not None
    real, calls = Database.session, iter(range(100))

    @contextlib.contextmanager
    def away(self: Database, *, write: bool = False) -> Iterator[Session]:
        turn = next(calls)
        if turn == 1:
            raise sa.exc.OperationalError("connect", {}, Exception("still starting up"))
        with real(self, write=write) as session:
            yield session
        if turn == 0:
            raise sa.exc.OperationalError("commit", {}, Exception("the server closed the connection"))

    monkeypatch.setattr(Database, "session", away)
    run = Run(ctx, job, lambda: False)
    run._store([protocol.Log(message="once")], 10)
    with ctx.db.session() as session:
        told = [event.payload.get("message") for event in jobs.events_after(session, 1, 0)]
    assert told.count("once") == 1


def test_a_training_that_may_not_start_leaves_its_data_set_ready(ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        dataset = add_sample(session, ctx, then_train=True).id
        job = session.get_one(Job, 1)
        wish = job.config["then_train"]
        job.config = {"then_train": wish | {"config": wish["config"] | {"base_model": "Qwen/Qwen3-0.6B"}}}
    Runner(ctx, "w", "light").run_waiting()
    with ctx.db.session() as session:
        assert session.get_one(Dataset, dataset).state == DatasetState.READY
    job = state_of(ctx, 1)
    assert job.state == "succeeded"
    assert "Qwen/Qwen3-0.6B is not on this machine" in (job.result or {})["not_started"]


def test_stopping_while_rows_are_copied_gives_the_job_back(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx.settings.worker.beat_seconds = 0.05
    monkeypatch.setattr(Workspace, "write_rows", lambda _self, stop: stop.wait(30))
    upload(ctx, lines(GOOD))
    told = threading.Event()
    threading.Timer(0.5, told.set).start()
    Runner(ctx, "w", "light", told.is_set).run_waiting()
    assert (state_of(ctx, 1).state, state_of(ctx, 1).losses) == ("queued", 0)
