"""Hosts that share a database and S3, and no disk: what one makes, another goes on with."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import signal
import socket
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.datasets import service as datasets
from app.domain.datasets import versions
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.exports.service import list_artifacts
from app.domain.jobs import leftovers
from app.domain.jobs import service as jobs
from app.domain.jobs.config import Question, TrainConfig
from app.domain.jobs.launch import launch_training
from app.domain.jobs.models import Checkpoint, Job
from app.domain.jobs.states import JobKind
from app.domain.jobs.sweeper import Sweeper
from app.main import create_app
from tests.tiny_model import tiny_rows
from tests.worker.conftest import NOWHERE, NewHost
from tests.worker.test_intake_job import GOOD, lines, upload
from tests.worker.test_training_job import job_of, run_to_rest, run_until_lost, trainer_of, when_at_step
from worker import transfers
from worker.runner import Runner


def upload_by_web(ctx: Context) -> int:
    data = "".join(json.dumps(row) + "\n" for row in tiny_rows(40))
    with TestClient(create_app(ctx.settings), base_url="http://localhost") as browser:
        answer = browser.post("/datasets", files={"file": ("rows.jsonl", data)}, headers={"accept": "application/json"})
    return int(answer.json()["location"].rpartition("/")[2])


def test_a_version_made_on_one_host_is_read_on_another(new_host: NewHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once by the web process, and as a job by a worker elsewhere."""
    web, worker = new_host("web"), new_host("worker")
    first = upload_by_web(web)
    assert Runner(worker, "w", "light").run_waiting() == 1
    with TestClient(create_app(web.settings), base_url="http://localhost", follow_redirects=False) as browser:
        assert browser.post(f"/datasets/{first}/exclude", data={"number": "1"}).status_code == 303
        monkeypatch.setattr(versions, "AT_ONCE", 10)
        assert browser.post("/datasets/2/exclude", data={"number": "1"}).status_code == 303
        assert Runner(worker, "w", "light").run_waiting() == 1
        assert browser.get("/datasets/3/rows.jsonl").content.count(b"\n") == 38
        for number in (3, 2):
            browser.post(f"/datasets/{number}/delete")
    with worker.db.session() as session:
        gone = session.get_one(Dataset, 2)
    assert datasets.preview_rows(worker.storage, gone, 0, 1)
    Sweeper(web).clean()
    worker.storage.discard(gone.rows_key)
    assert not worker.storage.ensure(gone.rows_key).exists()


def launch(ctx: Context, dataset_id: int, model: Path) -> int:
    ctx.settings.models.local_roots = [model.parent]
    wish = {
        "base_model": str(model),
        "max_steps": 5000,
        "save_steps": 2,
        "eval_steps": 5000,
        "max_new_tokens": 2,
        "questions": (Question(prompt="Say red then blue."),),
    }
    config = TrainConfig.model_validate(wish)
    with ctx.db.session(write=True) as session:
        job = launch_training(session, ctx.bells, ctx.settings, dataset_id=dataset_id, name="tiny", config=config)
        return job.id or 0


def content(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_a_training_lost_on_one_host_goes_on_from_its_checkpoint_on_another(
    new_host: NewHost, tiny_model: Path
) -> None:
    web, first, second = new_host("web"), new_host("first"), new_host("second")
    dataset_id = upload_by_web(web)
    assert Runner(first, "first", "light").run_waiting() == 1

    job_id = launch(web, dataset_id, tiny_model)
    kill = when_at_step(web, job_id, 6, lambda: trainer_of(job_id).send_signal(signal.SIGKILL))
    assert run_until_lost(first, job_id) == ("queued", 1)
    kill.join()
    last = shorten(web, job_id)
    sealed = content(first.storage.path(last.storage_key))
    shutil.rmtree(first.settings.files_dir)

    done = run_to_rest(second, job_id)
    assert (done.state, done.step, done.attempt) == ("succeeded", last.step + 2, 2)
    assert content(second.storage.path(last.storage_key)) == sealed
    shutil.rmtree(second.settings.files_dir)
    check_the_download(new_host("third"), job_id)
    check_that_nothing_stays(web, first, job_id, dataset_id)


def shorten(ctx: Context, job_id: int) -> Checkpoint:
    """Two steps more, one checkpoint, from the last checkpoint, and no wait before them."""
    with ctx.db.session(write=True) as session:
        last = jobs.newest_checkpoint(session, job_id)
        assert last is not None
        job = session.get_one(Job, job_id)
        job.config, job.not_before = job.config | {"max_steps": last.step + 2}, None
        return last


def check_the_download(ctx: Context, job_id: int) -> None:
    with ctx.db.session() as session:
        (adapter,) = list_artifacts(session, job_id)
    with TestClient(create_app(ctx.settings), base_url="http://localhost") as browser:
        answer = browser.get(f"/artifacts/{adapter.id}/download")
        assert browser.get("/datasets/1").text.count("Say ") > 1  # its rows are shown, from where they were made
    packed = zipfile.ZipFile(io.BytesIO(answer.content))
    (weights,) = [name for name in packed.namelist() if name.endswith("adapter_model.safetensors")]
    assert hashlib.sha256(packed.read(weights)).hexdigest() == adapter.sha256


def check_that_nothing_stays(web: Context, worker: Context, job_id: int, dataset_id: int) -> None:
    worker.storage.ensure(f"runs/{job_id}/a2/adapter")
    with web.db.session(write=True) as session:
        jobs.delete(session, web.bells, job_id)
        datasets.delete_dataset(session, web.bells, dataset_id)
    Sweeper(web).look()
    assert not web.storage.ensure(f"runs/{job_id}/a2/adapter").exists()
    assert not list(web.storage.path("datasets").iterdir())
    leftovers.remove(worker)
    assert not worker.storage.path(f"runs/{job_id}").exists()


def test_an_upload_that_can_not_be_stored_is_told_and_leaves_nothing(new_host: NewHost) -> None:
    ctx = new_host("a", s3_endpoint=NOWHERE)
    with TestClient(create_app(ctx.settings), base_url="http://localhost") as browser:
        answer = browser.post("/datasets", files={"file": ("rows.jsonl", lines(*[GOOD] * 5))})
    assert answer.status_code == 503
    assert "The storage s3://" in answer.text
    with ctx.db.session() as session:
        assert datasets.list_datasets(session) == []
    assert not [path for path in ctx.storage.root.rglob("*") if path.is_file()]


def test_a_storage_that_is_away_fails_the_job_with_a_sentence(
    new_host: NewHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "PAUSES", (0.01,))
    ctx = new_host("a", s3_endpoint=NOWHERE)
    ctx.settings.worker.max_losses = 0
    dataset_id = upload(ctx, lines(*[GOOD] * 5))
    Runner(ctx, "a", "light").run_waiting()
    with ctx.db.session() as session:
        (job,) = jobs.list_jobs(session, kinds=(JobKind.INTAKE,))
        dataset = datasets.get_dataset(session, dataset_id)
    assert (job.state, job.error["class"]) == ("failed", "storage_unreachable")
    assert "can't be written to" in job.error["message"]
    assert "tunedeck doctor" in job.error["advice"]
    assert (dataset.state, dataset.rows_key) == (DatasetState.FAILED, "")
    assert ctx.storage.path(f"runs/{job.id}/a1/rows.jsonl").read_bytes().count(b"\n") == 5


def test_the_lease_is_kept_while_an_upload_hangs_and_a_cancel_ends_it(new_host: NewHost) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()  # connections are taken, and never answered
        ctx = new_host("a", s3_endpoint=f"http://127.0.0.1:{deaf.getsockname()[1]}")
        ctx.settings.worker.beat_seconds = 0.05
        upload(ctx, lines(*[GOOD] * 5))

        def cancel() -> None:
            with ctx.db.session(write=True) as session:
                jobs.cancel(session, ctx.bells, 1)

        watch = when_uploading(ctx, cancel)
        Runner(ctx, "a", "light").run_waiting()
        watch.join()
        job = job_of(ctx, 1)
        assert job.state == "cancelled"
        with ctx.db.session() as session:
            assert datasets.get_dataset(session, 1).rows_key == ""


def when_uploading(ctx: Context, act: Callable[[], None]) -> threading.Thread:
    """Do something once an upload runs and the lease was renewed some times beside it."""

    def watch() -> None:
        pause = threading.Event()
        while not any(thread.name == "transfer" for thread in threading.enumerate()):
            pause.wait(0.02)
        before = job_of(ctx, 1).beat
        while job_of(ctx, 1).beat < before + 3:
            pause.wait(0.02)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread
