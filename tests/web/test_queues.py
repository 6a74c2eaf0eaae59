"""Queues that are held and let go."""

from __future__ import annotations

import re

from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.jobs import holding
from app.domain.jobs import service as jobs
from app.domain.models.catalogue import BUNDLED
from tests.web import seeding


def test_a_held_queue_starts_nothing_until_it_is_let_go(client: TestClient, ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        waiting = seeding.training(session, ctx, seeding.dataset(session, ctx)).id
    for _ in range(2):  # twice is no harm
        assert client.post("/workers/queues/gpu/hold").headers["location"] == "/workers"
    assert "Let it go on" in client.get("/workers").text
    assert "The queue is held" in client.get(f"/jobs/{waiting}").text
    with ctx.db.session(write=True) as session:
        assert jobs.claim(session, "gpu", "w") is None
        assert jobs.claim(session, "light", "w") is None
    assert client.post("/workers/queues/gpu/go").status_code == 303
    with ctx.db.session(write=True) as session:
        assert holding.held(session) == set()
        taken = jobs.claim(session, "gpu", "w")
    assert taken is not None
    assert taken.id == waiting


def test_there_are_only_the_queues_there_are(client: TestClient) -> None:
    assert client.post("/workers/queues/other/hold").status_code == 422


def test_the_order_can_be_chosen_at_launch_and_changed_after(client: TestClient, ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        dataset = seeding.dataset(session, ctx)
        first, second = (seeding.training(session, ctx, dataset, name).id for name in ("first", "second"))
    form = {"dataset_id": dataset, "name": "third", "base_model": BUNDLED, "target_modules": ["q_proj"]}
    assert client.post("/jobs", data=form | {"priority": "soon"}).status_code == 422
    third = int(client.post("/jobs", data=form | {"priority": "urgent"}).headers["location"].rpartition("/")[2])
    assert order(client) == [third, first, second]
    page = client.get(f"/jobs/{third}").text
    assert "Whenever: when nothing else waits" in page
    assert client.post(f"/jobs/{third}/priority", data={"priority": "whenever"}).status_code == 303
    assert order(client) == [first, second, third]
    assert client.post(f"/jobs/{second}/move", data={"where": "earlier"}).headers["location"] == "/jobs#queue"
    asks = {"hx-request": "true", "hx-request-type": "partial", "hx-target": "div#job-list"}
    part = client.post(f"/jobs/{second}/move", data={"where": "later"}, headers=asks)
    assert "<html" not in part.text
    assert found(part.text) == [first, second, third]
    assert client.post(f"/jobs/{first}/priority", data={"priority": "soon"}).status_code == 422


def order(client: TestClient) -> list[int]:
    return found(client.get("/jobs").text)


def found(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'<li[^>]*id="wait-(\d+)"', page)]
