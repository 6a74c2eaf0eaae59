"""Jobs as JSON: what can be done with them, and how a refusal looks."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Job
from app.domain.jobs.states import JobState
from app.domain.models.catalogue import BUNDLED
from app.web.api.schemas import ErrorOut, JobOut
from tests.web import seeding


def refused(answer: Any, status: int) -> dict[str, Any]:
    """What the refusal says, once its shape is checked."""
    assert answer.status_code == status, answer.text
    said = ErrorOut.model_validate(answer.json()).error
    assert said.status == status
    assert said.message
    return said.model_dump()


def done(answer: Any, status: int = 200) -> JobOut:
    assert answer.status_code == status, answer.text
    return JobOut.model_validate(answer.json())


def put(ctx: Context, job_id: int, state: JobState) -> None:
    with ctx.db.session(write=True) as session:
        session.execute(sa.update(Job).where(sa.column("id") == job_id).values(state=state))


def test_a_training_is_started_and_found(client: TestClient, world: seeding.World) -> None:
    wish = {"dataset_id": world.dataset, "name": "by script", "config": {"base_model": BUNDLED, "max_steps": 7}}
    answer = client.post("/api/jobs", json=wish | {"priority": "urgent"})
    made = done(answer, 201)
    assert (made.state, made.priority, made.config["max_steps"]) == ("queued", "urgent", 7)
    assert answer.headers["location"] == f"/api/jobs/{made.id}"
    assert done(client.get(answer.headers["location"])) == made
    page = client.get("/api/jobs?limit=2").json()
    assert [job["name"] for job in page["jobs"]] == ["by script", "queued"]
    assert client.get(f"/api/jobs?limit=200&offset={page['next']}").json()["next"] is None
    assert {job["state"] for job in client.get("/api/jobs?state=failed&state=succeeded").json()["jobs"]} == {
        "failed",
        "succeeded",
    }
    assert {job["kind"] for job in client.get("/api/jobs?kind=intake").json()["jobs"]} == {"intake"}


def test_everything_that_a_page_does(client: TestClient, ctx: Context, world: seeding.World) -> None:
    assert done(client.post(f"/api/jobs/{world.running}/pause")).state == "pausing"
    put(ctx, world.running, JobState.PAUSED)
    assert (
        done(client.post(f"/api/jobs/{world.running}/priority", json={"priority": "whenever"})).priority == "whenever"
    )
    assert done(client.post(f"/api/jobs/{world.running}/resume")).state == "queued"
    assert order(client) == ["queued", "running"]
    assert done(client.post(f"/api/jobs/{world.running}/first")).state == "queued"
    assert order(client) == ["running", "queued"]
    client.post(f"/api/jobs/{world.running}/move", json={"where": "later"})
    assert order(client) == ["queued", "running"]
    client.post(f"/api/jobs/{world.running}/move", json={"before": world.queued})
    assert order(client) == ["running", "queued"]
    client.post(f"/api/jobs/{world.running}/move", json={"before": None})
    assert order(client) == ["queued", "running"]
    assert done(client.post(f"/api/jobs/{world.running}/cancel")).state == "cancelled"
    again = done(client.post(f"/api/jobs/{world.failed}/retry"), 201)
    assert (again.parent_id, again.state) == (world.failed, "queued")
    like = done(client.post(f"/api/jobs/{world.done}/duplicate", json={"config": {"seed": 5}, "name": "other"}), 201)
    assert (like.config["seed"], like.name, like.parent_id) == (5, "other", None)
    on = done(client.post(f"/api/jobs/{world.done}/further", json={}), 201)
    assert (on.config["adapter_of"], on.parent_id) == (world.done, world.done)
    assert client.delete(f"/api/jobs/{world.queued}").status_code == 204
    refused(client.get(f"/api/jobs/{world.queued}"), 404)


def order(client: TestClient) -> list[str]:
    queues = {queue["name"]: queue for queue in client.get("/api/queues").json()}
    return [job["name"] for job in queues["gpu"]["waiting"]]


def test_a_queue_is_held_and_let_go(client: TestClient, world: seeding.World) -> None:
    assert client.post("/api/queues/gpu/hold").json()["held"] is True
    held = client.post("/api/queues/gpu/go").json()
    assert (held["held"], [job["id"] for job in held["waiting"]]) == (False, [world.queued])
    refused(client.post("/api/queues/other/hold"), 422)


def test_every_refusal_has_one_shape(client: TestClient, world: seeding.World) -> None:
    refused(client.get("/api/jobs/9999"), 404)
    refused(client.get("/api/nothing"), 404)
    refused(client.post(f"/api/jobs/{world.done}/pause"), 409)
    refused(client.post(f"/api/jobs/{world.queued}/priority", json={"priority": "soon"}), 422)
    refused(client.put("/api/jobs", json={}), 405)
    wrong = {"dataset_id": world.dataset, "name": "x", "config": {"base_model": BUNDLED, "learning_rate": 9}}
    assert "config.learning_rate" in refused(client.post("/api/jobs", json=wrong), 422)["fields"]
    missing = {"dataset_id": 999, "name": "x", "config": {"base_model": "nobody/nothing"}}
    assert set(refused(client.post("/api/jobs", json=missing), 422)["fields"]) == {"dataset_id", "base_model"}
    changes = {"config": {"lora_r": 4}}
    assert "lora_r" in refused(client.post(f"/api/jobs/{world.done}/further", json=changes), 422)["fields"]
    typo = {"config": {"learnin_rate": 4}}
    assert "learnin_rate" in refused(client.post(f"/api/jobs/{world.done}/duplicate", json=typo), 422)["fields"]
    refused(client.post("/api/jobs", content=b'{"name": "' + b"x" * 1_100_000 + b'"}', headers=_JSON), 413)
    refused(client.post("/api/jobs", content=b"{", headers=_JSON), 422)


_JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("headers", [{"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}])
def test_another_site_is_refused_here_too(client: TestClient, ctx: Context, headers: dict[str, str]) -> None:
    with ctx.db.session(write=True) as session:
        job = seeding.training(session, ctx, seeding.dataset(session, ctx)).id or 0
    assert client.post(f"/api/jobs/{job}/cancel", headers=headers).status_code == 403
    with ctx.db.session() as session:
        assert jobs.get_job(session, job).state == "queued"


def test_the_calls_are_documented_with_examples(client: TestClient) -> None:
    told = client.get("/api/openapi.json").json()
    assert all(path.startswith("/api/") for path in told["paths"])
    assert {"pause", "resume", "cancel", "retry", "further", "duplicate", "priority", "move", "first"} <= {
        path.rpartition("/")[2] for path in told["paths"]
    }
    assert told["components"]["schemas"]["NewJob"]["properties"]["config"]["examples"]
    for path, calls in told["paths"].items():
        for call in calls.values():
            assert call["description"], path
