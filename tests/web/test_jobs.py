"""What can be done with a job, its curves, and its files."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import Session
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Artifact, Job, Metric
from app.domain.jobs.states import JobKind, JobState
from app.domain.upsert import upsert
from tests.web import seeding


def state_of(ctx: Context, job_id: int) -> str:
    with ctx.db.session() as session:
        job = session.get(Job, job_id)
        assert job is not None
        return job.state


def test_a_running_job_pauses_resumes_and_is_cancelled(client: TestClient, ctx: Context, world: seeding.World) -> None:
    assert client.post(f"/jobs/{world.running}/pause").headers["location"] == f"/jobs/{world.running}"
    assert state_of(ctx, world.running) == "pausing"
    assert client.post(f"/jobs/{world.running}/resume").status_code == 409
    assert client.post(f"/jobs/{world.running}/cancel").status_code == 303
    assert state_of(ctx, world.running) == "cancelling"
    assert "Stopping" in client.get(f"/jobs/{world.running}").text


def test_deleting_a_running_job_stops_it_first(client: TestClient, ctx: Context, world: seeding.World) -> None:
    answer = client.post(f"/jobs/{world.running}/delete")
    assert answer.headers["location"] == "/jobs"
    assert "being stopped" in client.get("/jobs").text
    assert state_of(ctx, world.running) == "cancelling"
    assert client.get(f"/jobs/{world.running}").status_code == 404
    assert client.get(f"/jobs/{world.running}/events").status_code == 404


def test_a_failed_job_says_why_and_runs_again(client: TestClient, world: seeding.World) -> None:
    page = client.get(f"/jobs/{world.failed}").text
    assert page.index("The loss is NaN.") < page.index('id="log"')
    assert "Lower it." in page
    again = client.post(f"/jobs/{world.failed}/retry").headers["location"]
    assert f"/jobs/{world.failed}" in client.get(again).text


def test_a_data_set_in_use_is_not_deleted(client: TestClient, world: seeding.World) -> None:
    answer = client.post(f"/datasets/{world.dataset}/delete")
    assert answer.status_code == 409
    assert "is using this data set" in answer.text


def test_a_finished_job_shows_its_answers_first(client: TestClient, world: seeding.World) -> None:
    page = client.get(f"/jobs/{world.done}").text
    assert page.index('id="answers"') < page.index('id="exports"') < page.index('id="loss"') < page.index('id="log"')
    assert '<mark class="new">' in page
    assert 'data-stream-root=""' not in page  # nothing more will come
    running = client.get(f"/jobs/{world.running}").text
    assert running.index('id="loss"') < running.index('id="answers"')
    assert "events?after=" in running


def test_the_curves_as_json(client: TestClient, world: seeding.World) -> None:
    found = client.get(f"/jobs/{world.running}/metrics.json").json()
    assert found["series"]["loss"][0] == list(range(1, 9))
    assert found["series"]["loss"][1][0] == 3
    assert found["seq"] == 10
    assert found["axis"]["steps"][0] == 1
    part = client.get(f"/jobs/{world.running}/metrics.json?start=3&stop=5").json()
    assert part["series"]["loss"][0] == [3, 4, 5]
    assert client.get("/jobs/999/metrics.json").status_code == 404


def test_the_curves_as_a_table(client: TestClient, world: seeding.World) -> None:
    answer = client.get(f"/jobs/{world.running}/metrics.csv")
    head, first, *rest = answer.text.splitlines()
    assert head.split(",")[0] == "step"
    assert dict(zip(head.split(","), first.split(","), strict=True))["loss"] == "3.0"
    assert len(rest) == 7
    assert "attachment" in answer.headers["Content-Disposition"]


def test_a_curve_that_warns_is_told_in_words(client: TestClient, ctx: Context, world: seeding.World) -> None:
    with ctx.db.session(write=True) as session:
        key = {"job_id": world.running, "attempt": 1, "name": "loss"}
        upsert(session, Metric, [key | {"step": step, "value": 2.0} for step in range(1, 60)])
        upsert(session, Metric, [key | {"name": "new_thing", "step": 1, "value": 1.0}])
    page = client.get(f"/jobs/{world.running}").text
    assert "The loss does not fall" in page
    assert 'data-series="new_thing"' in page  # whatever the trainer logs gets a chart


def test_light_jobs_lead_to_what_they_are_about(client: TestClient, ctx: Context, world: seeding.World) -> None:
    client.post(f"/jobs/{world.done}/export", data={"artifact": "gguf", "quant": "f16"})
    with ctx.db.session() as session:
        audit = jobs.list_jobs(session, kinds=(JobKind.AUDIT,))[0]
        export = jobs.list_jobs(session, kinds=(JobKind.EXPORT,))[0]
    assert client.get(f"/jobs/{audit.id}").headers["location"] == f"/datasets/{world.dataset}"
    assert client.get(f"/jobs/{export.id}").headers["location"] == f"/jobs/{world.done}#exports"
    page = client.get(f"/jobs/{world.done}").text
    assert "Waiting for a worker" in page
    assert "events?after=" in page  # its exports are followed
    assert client.post(f"/jobs/{export.id}/cancel").headers["location"] == f"/jobs/{world.done}#exports"


@pytest.mark.parametrize("data", [{}, {"artifact": "adapter"}, {"artifact": "gguf", "quant": "q1_xs"}])
def test_an_unknown_export_is_refused(client: TestClient, world: seeding.World, data: dict[str, str]) -> None:
    assert client.post(f"/jobs/{world.done}/export", data=data).status_code == 422


def test_an_unfinished_job_exports_nothing(client: TestClient, world: seeding.World) -> None:
    answer = client.post(f"/jobs/{world.running}/export", data={"artifact": "gguf", "quant": "f16"})
    assert answer.status_code == 409
    assert client.get(f"/models/{world.running}").status_code == 404


def test_a_push_names_what_is_wrong(client: TestClient, ctx: Context, world: seeding.World) -> None:
    place = f"/jobs/{world.done}/push"
    assert "owner/name" in client.post(place, data={"repo_id": "x", "what": "adapter:"}).text
    assert "at least one" in client.post(place, data={"repo_id": "a/b"}).text
    assert "Not made yet" in client.post(place, data={"repo_id": "a/b", "what": "gguf:f16"}).text
    given = {"repo_id": "ada/teller", "what": ["adapter:", "gguf:q8_0"], "visibility": "public"}
    assert client.post(place, data=given).status_code == 303
    with ctx.db.session() as session:
        (push,) = jobs.list_jobs(session, kinds=(JobKind.PUSH,))
    assert push.config == {"repo_id": "ada/teller", "private": False, "what": [["adapter", ""], ["gguf", "q8_0"]]}


def test_a_file_is_downloaded_as_it_lies(client: TestClient, world: seeding.World) -> None:
    answer = client.get(f"/artifacts/{world.gguf}/download", headers={"accept-encoding": "gzip"})
    assert answer.content == b"GGUF" + bytes(5000)
    assert "tuned.q8_0.gguf" in answer.headers["content-disposition"]
    assert "content-encoding" not in answer.headers
    part = client.get(f"/artifacts/{world.gguf}/download", headers={"range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"GGUF")


def test_a_folder_is_downloaded_as_a_zip(client: TestClient, ctx: Context, world: seeding.World) -> None:
    secret = ctx.settings.root / "secret.txt"
    secret.write_text("outside")
    (ctx.storage.path(f"runs/{world.done}/adapter") / "link").symlink_to(secret)
    answer = client.get(f"/artifacts/{world.adapter}/download")
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    assert archive.namelist() == ["done-adapter/adapter_model.safetensors", "done-adapter/nested/config.json"]
    assert archive.read("done-adapter/adapter_model.safetensors") == b"weights" * 200_000


@pytest.mark.parametrize("key", ["../../../etc/passwd", "/etc/passwd", "runs/none"])
def test_no_address_leads_out_of_the_storage(client: TestClient, ctx: Context, world: seeding.World, key: str) -> None:
    with ctx.db.session(write=True) as session:
        _point(session, world.gguf, key)
    assert client.get(f"/artifacts/{world.gguf}/download").status_code == 404
    assert client.get("/artifacts/999/download").status_code == 404


def _point(session: Session, artifact_id: int, key: str) -> None:
    session.execute(sa.update(Artifact).where(sa.column("id") == artifact_id).values(storage_key=key))


def test_a_job_that_ran_out_of_memory_is_offered_again_in_less(client: TestClient, ctx: Context) -> None:
    error = {
        "class": "out_of_memory",
        "message": "There was not enough memory for a training step.",
        "advice": "x",
    }
    memory = {"device": "Tesla T4", "memory_used": 1, "memory_total": 15_640_000_000}
    with ctx.db.session(write=True) as session:
        changes: dict[str, Any] = {"base_model": "Qwen/Qwen3-8B", "load_in": "none", "per_device_train_batch_size": 4}
        job = seeding.training(session, ctx, seeding.dataset(session, ctx), **changes)
        seeding.run(session, job)
        seeding.event(session, job.id or 0, "gpu", memory)
        assert jobs.move(session, job.id or 0, [JobState.RUNNING], JobState.FAILED, error=error)
        job_id = job.id
    page = client.get(f"/jobs/{job_id}").text
    assert "With batch size 1 with accumulation 16, loading in 4 bits it needs less." in page
    assert f'href="/jobs/new?less={job_id}"' in page
    form = client.get(f"/jobs/new?less={job_id}").text
    assert re.search(r'name="per_device_train_batch_size"[^>]*value="1"', form)
    assert re.search(r'name="gradient_accumulation_steps"[^>]*value="16"', form)
    assert re.search(r'<option value="4bit"[^>]*selected', form)


def test_on_the_cpu_four_bits_are_no_way_out(client: TestClient, ctx: Context) -> None:
    error = {"class": "out_of_memory", "message": "No.", "advice": "x"}
    with ctx.db.session(write=True) as session:
        job = seeding.training(session, ctx, seeding.dataset(session, ctx), per_device_train_batch_size=1)
        seeding.run(session, job)
        assert jobs.move(session, job.id or 0, [JobState.RUNNING], JobState.FAILED, error=error)
        job_id = job.id
    assert "With at most 1,024 tokens a row it needs less." in client.get(f"/jobs/{job_id}").text


def test_a_waiting_job_is_put_before_the_others(client: TestClient, ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        rows = seeding.dataset(session, ctx)
        ids = [seeding.training(session, ctx, rows, name=f"j{n}").id or 0 for n in range(3)]
    assert "Start next" not in client.get(f"/jobs/{ids[0]}").text
    assert "Start next" in client.get(f"/jobs/{ids[2]}").text
    assert client.post(f"/jobs/{ids[2]}/first").status_code == 303
    with ctx.db.session(write=True) as session:
        taken = [jobs.claim(session, "gpu", "w") for _ in range(3)]
    assert [job.id for job in taken if job] == [ids[2], ids[0], ids[1]]
    assert client.post(f"/jobs/{ids[2]}/first").status_code == 409


def test_a_finished_training_is_trained_further(client: TestClient, ctx: Context, world: seeding.World) -> None:
    assert f'href="/jobs/new?further={world.done}"' in client.get(f"/jobs/{world.done}").text
    form = client.get(f"/jobs/new?further={world.done}").text
    assert "It goes on from the adapter of" in form
    assert f'name="adapter_of" value="{world.done}"' in form
    with ctx.db.session() as session:
        before = jobs.get_job(session, world.done)
    fields = {"dataset_id": world.dataset, "name": "on", "base_model": before.config["base_model"]}
    same = fields | {"adapter_of": world.done, "target_modules": before.config["target_modules"]}
    answer = client.post("/jobs", data=same)
    assert answer.status_code == 303, re.findall(r"field-error.*?<span>(.*?)</span>", answer.text)
    made = int(answer.headers["location"].rsplit("/", 1)[1])
    with ctx.db.session() as session:
        job = jobs.get_job(session, made)
        assert (job.parent_id, job.config["adapter_of"]) == (world.done, world.done)
    assert f"goes on from job {world.done}" in client.get(f"/jobs/{made}").text
    other = client.post("/jobs", data=same | {"lora_r": "8"})
    assert other.status_code == 422
    assert "this must stay as it was there" in other.text
    assert client.post("/jobs", data=same | {"adapter_of": "999"}).status_code == 422
