"""Queues that are held and let go."""

from __future__ import annotations

from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.jobs import holding
from app.domain.jobs import service as jobs
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
