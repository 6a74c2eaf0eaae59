"""The Workers page and its calls: what each worker has and does, drained and resumed; why a job waits for none."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlmodel import Session
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Job
from app.domain.jobs.states import JobState
from app.domain.models.catalogue import BUNDLED
from app.domain.workers import service as workers
from app.main import create_app
from tests.web import seeding

CARD = {
    "index": 0,
    "name": "RTX 3090",
    "total": 25_769_803_776,
    "used": 1_000_000_000,
    "load": 40.0,
    "capability": "8.6",
}


def hello(session: Session, name: str, **facts: Any) -> None:
    workers.hello(session, name=name, queue="gpu", host="box", pid=7, facts={"gpus": [CARD]} | facts)


def test_the_page_tells_what_a_worker_has_and_runs(client: TestClient, ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        hello(session, "box-gpu0", labels=["<b>", "lab"])
        job = seeding.training(session, ctx, seeding.dataset(session, ctx), "mine")
        seeding.run(session, job)
        session.execute(sa.update(Job).where(sa.column("id") == job.id).values(worker="box-gpu0"))
    page = client.get("/workers").text
    for said in (
        "RTX 3090, 25.8 GB, 1.0 GB in use, 40 % busy",
        "labels: &lt;b&gt;, lab",
        f'href="/jobs/{job.id}"',
        "Busy",
    ):
        assert said in page, said
    (told,) = client.get("/api/workers").json()
    assert (told["job"], told["alive"], told["labels"]) == (job.id, True, ["<b>", "lab"])
    assert told["gpus"] == [CARD]


def test_a_worker_is_drained_and_resumed_and_a_new_web_process_knows(client: TestClient, ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        hello(session, "a b")
        hello(session, "w")
    assert client.post("/workers/gpu/w/drain").headers["location"] == "/workers"
    with TestClient(create_app(ctx.settings), base_url="http://localhost") as restarted:
        assert "Drained: it takes no job." in restarted.get("/workers").text
    with ctx.db.session(write=True) as session:
        seeding.training(session, ctx, seeding.dataset(session, ctx))
        assert jobs.claim(session, "gpu", "w") is None
    assert client.post("/workers/gpu/w/resume").status_code == 303
    assert "Drained" not in client.get("/workers").text
    assert client.post("/api/workers/gpu/w/drain").json()["draining"] is True
    assert client.post("/api/workers/gpu/w/resume").json()["draining"] is False
    for call in ("/workers/gpu/nobody/drain", "/api/workers/gpu/nobody/drain", "/api/workers/light/w/resume"):
        assert client.post(call).status_code == 404


def test_a_job_that_no_worker_can_take_says_so(client: TestClient, ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        hello(session, "w")
        dataset = seeding.dataset(session, ctx)
    form = {"dataset_id": dataset, "name": "big", "base_model": BUNDLED, "target_modules": ["q_proj"]}
    asks = {"gpus": "2", "min_gpu_memory_gb": "40,5", "worker_label": "lab"}
    panel = client.post("/jobs/new/panel", data=form | asks).text
    answer = client.post("/jobs", data=form | asks)
    assert answer.status_code == 303, answer.text
    place = answer.headers["location"]
    page = client.get(place).text
    for said in (
        "It asks for 2 GPUs of one worker; the most that one has is 1.",
        "It asks for a GPU of at least 40.5 GB; the largest has 25.8 GB.",
        "It asks for a worker with the label “lab”; none carries it.",
    ):
        assert said in page
        assert said in panel
    told = client.get(f"/api{place}").json()
    assert (told["gpus"], told["min_gpu_memory_gb"], told["worker_label"]) == (2, 40.5, "lab")
    wrong = client.post("/jobs", data=form | {"min_gpu_memory_gb": "-1"})
    assert "GPU memory at least must be at least 0 GB" in wrong.text
    again = client.get(f"/jobs/new?like={told['id']}").text
    assert 'value="40.5"' in again
    with ctx.db.session(write=True) as session:
        hello(session, "w", gpus=[CARD | {"total": 85_000_000_000}] * 2, labels=["lab"])
    assert "It starts next." in client.get(place).text


def test_a_retry_asks_for_the_same(client: TestClient, ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        job = seeding.training(session, ctx, seeding.dataset(session, ctx), gpus=2, worker_label="lab")
        assert jobs.move(session, job.id or 0, [JobState.QUEUED], JobState.CANCELLED)
    made = client.post(f"/api/jobs/{job.id}/retry").json()
    assert (made["gpus"], made["worker_label"]) == (2, "lab")
