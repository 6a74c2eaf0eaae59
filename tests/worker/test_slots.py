"""A host with several GPUs: a slot for each, which sees its own alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlmodel import select

from app.core.context import Context, make_context
from app.core.gpus import all_gpus, seen_gpus
from app.core.settings import Settings
from app.core.slots import training_slots
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Job, JobEvent
from app.domain.jobs.states import JobKind, JobState, Queue
from app.domain.workers import service as workers
from app.domain.workers.models import Worker
from app.parts import worker_parts
from app.ready import worker_problem
from app.supervisor import Broker
from tests.worker import patient, smi
from tests.worker.test_celery_process import wait_for
from tests.worker.training import queued

_PATIENT = """
from app.domain.jobs.states import JobKind
from worker import process
process.MODULES[JobKind.TRAIN] = "tests.worker.patient"
"""


def slots_of(settings: Settings, per_slot: int, environ: dict[str, str]) -> list[tuple[str, str | None]]:
    worker = settings.worker.model_copy(update={"name": "box", "gpus_per_slot": per_slot})
    found = training_slots(settings.model_copy(update={"worker": worker}), environ)
    return [(slot.name, slot.env.get("CUDA_VISIBLE_DEVICES")) for slot in found]


def test_each_gpu_is_a_slot_unless_the_settings_say_otherwise(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(smi.invent(tmp_path / "bin", 4)))
    assert slots_of(settings, 1, {}) == [(f"box-gpu{n}", str(n)) for n in range(4)]
    assert slots_of(settings, 2, {}) == [("box-gpu0-1", "0,1"), ("box-gpu2-3", "2,3")]
    assert slots_of(settings, 3, {}) == [("box-gpu0-1-2", "0,1,2"), ("box-gpu3", "3")]
    assert slots_of(settings, 0, {}) == slots_of(settings, 4, {}) == [("box", None)]
    given = {"CUDA_VISIBLE_DEVICES": "3,GPU-11"}
    assert slots_of(settings, 1, given) == [("box-gpu3", "3"), ("box-gpu1", "GPU-11")]
    assert [gpu["index"] for gpu in seen_gpus(given)] == [3, 1]
    for none in ("", "-1", "2"):
        assert slots_of(settings, 1, {"CUDA_VISIBLE_DEVICES": none}) == [("box", None)]
    assert seen_gpus({"CUDA_VISIBLE_DEVICES": "-1"}) == []
    assert (all_gpus()[1]["capability"], all_gpus()[1]["total"]) == ("8.6", 24_576 * 1024**2)
    names = [part.name for part in worker_parts(settings, list(Queue), {})]
    assert names == ["worker gpu0", "worker gpu1", "worker gpu2", "worker gpu3", "worker light"]


def test_without_nvidia_smi_there_is_one_slot(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slots_of(settings, 1, {}) == [("box", None)]
    assert [part.name for part in worker_parts(settings, [Queue.GPU], {})] == ["worker gpu"]
    monkeypatch.setenv("PATH", str(smi.invent(tmp_path / "old", 2, old=True)))
    assert [gpu["capability"] for gpu in all_gpus()] == ["", ""], "an old driver still tells the rest"


@contextmanager
def host(settings: Settings, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`tunedeck worker gpu` on a host of two GPUs, with a scripted trainer."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_PATIENT)
    own = {"DATA_DIR": str(settings.root), "WORKER__NAME": "box", "WORKER__STANDBY": "false"}
    own |= {"WORKER__LABELS": '["lab"]', "WORKER__BEAT_SECONDS": "0.2"}
    env = dict(os.environ) | {f"TUNEDECK_{name}": value for name, value in own.items()}
    env |= {"PYTHONPATH": str(tmp_path / "site"), "PATH": f"{smi.invent(tmp_path / 'bin', 2)}:{os.environ['PATH']}"}
    env.pop("CUDA_VISIBLE_DEVICES", None)
    with (tmp_path / "workers.log").open("wb") as log:
        command = [sys.executable, "-P", "-m", "app.cli", "worker", "gpu"]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=120)


@pytest.mark.slow
def test_two_gpus_train_two_jobs_at_once_each_on_its_own(
    settings: Settings, ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Broker(settings)
    broker.start()
    context = make_context(settings)
    made = queued(ctx, 2)
    try:
        with host(settings, tmp_path) as process:
            wait_for(lambda: len(here(ctx)) == 2, 180)
            with ctx.db.session() as session:
                rows = list(session.exec(select(Worker)))
                running = {job.worker for job in session.exec(select(Job).where(Job.kind == JobKind.TRAIN))}
            assert running == {"box-gpu0", "box-gpu1"} == {row.name for row in rows}
            assert all([gpu["index"] for gpu in row.facts["gpus"]] == [int(row.name[-1])] for row in rows)
            assert all(row.facts["labels"] == ["lab"] for row in rows)
            monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
            named = settings.worker.model_copy(update={"name": "box"})
            assert worker_problem(settings.model_copy(update={"worker": named}), "gpu") == ""
            drained_and_resumed(context, ctx, made)
            (ctx.storage.path("runs") / patient.GO).touch()
            wait_for(lambda: states(ctx, made) == {JobState.SUCCEEDED}, 180)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=120) == 0, (tmp_path / "workers.log").read_text()
        with ctx.db.session() as session:
            assert workers.list_workers(session) == []
            assert seen_by(ctx, "box-gpu0") == {"sees 0"}
            assert seen_by(ctx, "box-gpu1") == {"sees 1"}
    finally:
        context.db.dispose()
        broker.stop()


def drained_and_resumed(web: Context, ctx: Context, made: list[int]) -> None:
    """One of the two saves its job and takes no other, without a signal; once resumed it goes on with it."""
    with ctx.db.session() as session:
        mine = next(job_id for job_id in made if jobs.get_job(session, job_id).worker == "box-gpu1")
    with web.db.session(write=True) as session:
        workers.drain(session, web.bells, "box-gpu1", "gpu")
    wait_for(lambda: states(ctx, [mine]) == {JobState.QUEUED}, 120)
    with ctx.db.session() as session:
        saved = jobs.newest_checkpoint(session, mine)
        assert saved is not None
        assert saved.step == 7
    with web.db.session(write=True) as session:
        workers.resume(session, web.bells, "box-gpu1", "gpu")
    wait_for(lambda: len(here(ctx)) == 3, 120)


def here(ctx: Context) -> list[Path]:
    return list(ctx.storage.path("runs").glob("*/*/here"))


def states(ctx: Context, made: list[int]) -> set[str]:
    with ctx.db.session() as session:
        return {jobs.get_job(session, job_id).state for job_id in made}


def seen_by(ctx: Context, worker: str) -> set[str]:
    """What the trainers of a worker said that they see."""
    with ctx.db.session() as session:
        logs = select(JobEvent).where(JobEvent.kind == "log")
        told = [
            str(event.payload["message"])
            for event in session.exec(logs)
            if jobs.get_job(session, event.job_id).worker == worker
        ]
    return {line for line in told if line.startswith("sees ")}
