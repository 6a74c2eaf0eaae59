"""Runs beside each other: what differs, what is best, who sees what, and what it costs."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.comparison import MAX_POINTS
from app.domain.datasets.models import Dataset
from app.domain.jobs import owners
from app.domain.jobs.config import Question
from app.domain.jobs.models import Job, Metric, Score
from app.web.views.compare import numbers_of
from tests.people.conftest import House
from tests.web import seeding
from tests.web.test_pages import counted


def made(ctx: Context, *changes: dict[str, Any]) -> list[int]:
    """Finished runs, each with a lower loss than the one before."""
    with ctx.db.session(write=True) as session:
        dataset = seeding.dataset(session, ctx)
        ids = []
        for number, change in enumerate(changes):
            job = seeding.training(session, ctx, dataset, f"run {number}", **change)
            seeding.run(session, job)
            seeding.finish(session, ctx, job)
            ids.append(job.id or 0)
            losses = sa.update(Score).where(sa.column("job_id") == job.id, sa.column("side") == "after")
            session.execute(losses.values(value=1.0 - number / 10))
            session.add(Metric(job_id=job.id or 0, attempt=1, name="eval_loss", step=8, value=1.0))
    return ids


def table(page: str, name: str) -> str:
    """One panel of the page, without tags."""
    part = page[page.index(f'id="{name}-title"') :]
    return " ".join(re.sub(r"<[^>]+>", " ", part[: part.index("</section>")]).split())


def test_only_what_differs_is_shown(client: TestClient, ctx: Context) -> None:
    one, two = made(ctx, {}, {"lora_r": 32})
    page = client.get(f"/compare?jobs={one},{two}").text
    settings = table(page, "settings")
    differs, _fold, same = settings.partition("settings are the same in all")
    assert "LoRA rank 16 32" in differs
    assert "Learning rate" not in differs
    assert "Learning rate 2e-4" in same
    assert "held-out rows are not the same" not in page
    assert "All settings are the same." in client.get(f"/compare?jobs={one},{one}").text


def test_the_best_is_marked_and_answers_that_are_alike_stand_once(client: TestClient, ctx: Context) -> None:
    one, two = made(ctx, {}, {"seed": 5})
    page = client.get(f"/compare?jobs={one},{two}").text
    assert "2.0000 → became 0.9000 Best" in table(page, "runs")
    assert table(page, "runs").count("Best") == 1
    assert "held-out rows are not the same" in page
    after = table(page, "answers").partition("Before training")[0]
    assert after.count("dear child") == 1
    assert "1 run 0" in after
    assert "2 run 1" in after


def test_other_questions_are_not_mixed_up(client: TestClient, ctx: Context) -> None:
    one, two = made(ctx, {}, {"questions": (Question(prompt="<b>Another?"), Question(prompt="Why is the sky blue?"))})
    answers = table(client.get(f"/compare?jobs={one},{two}").text, "answers")
    assert "&lt;b&gt;Another?" in answers
    assert "Not asked, or not yet." in answers


def test_a_form_leads_to_the_short_address(client: TestClient, world: seeding.World) -> None:
    answer = client.get(f"/compare?jobs={world.done}&jobs={world.running}")
    assert answer.headers["location"] == f"/compare?jobs={world.done},{world.running}"
    page = client.get(answer.headers["location"]).text
    assert "so far" not in page
    assert f'href="/jobs/{world.running}"' in page
    listed = client.get("/jobs").text
    assert listed.count('form="chosen" name="jobs"') == 4
    assert '<form id="chosen" method="get" action="/compare">' in listed


def test_eight_at_most_and_trainings_alone(client: TestClient, world: seeding.World) -> None:
    many = ",".join(str(number) for number in range(1, 13))
    page = client.get(f"/compare?jobs={many}").text
    assert "Left out: 9, 10, 11, 12." in page
    assert "Job 1 is not shown" in page  # an intake
    assert "Tick two to eight" in client.get("/compare").text


@pytest.mark.parametrize("given", ["", "x", "-1", "0", "²", "9" * 400, "1;2", "1e3", "2147483648"])
def test_what_is_no_number_is_left_out(client: TestClient, given: str) -> None:
    assert numbers_of([given]) == []
    assert client.get("/compare", params={"jobs": given}).status_code == 200
    assert client.get("/compare/metrics.json", params={"jobs": given}).json() == {"series": {}, "steps": {}}


def test_numbers_are_read_in_their_order() -> None:
    assert numbers_of(["3, 1,3", "2"]) == [3, 1, 2]


def test_the_curves_are_thinned_and_a_later_attempt_replaces(client: TestClient, ctx: Context) -> None:
    one, two = made(ctx, {}, {})
    with ctx.db.session(write=True) as session:
        session.add_all(Metric(job_id=one, attempt=2, name="loss", step=n, value=0.5) for n in range(5, 3000))
        session.add(Metric(job_id=two, attempt=1, name="loss", step=9, value=float("inf")))
    found = client.get(f"/compare/metrics.json?jobs={one},{two}").json()
    steps, values = found["series"][str(one)]["loss"]
    assert {value for step, value in zip(steps, values, strict=True) if step >= 5} == {0.5}
    assert (steps[0], values[0], steps[-1]) == (1, 3.0, 2999)
    assert len(steps) <= MAX_POINTS + 2
    assert found["series"][str(two)]["loss"][0] == list(range(1, 9))
    assert found["steps"] == {str(one): 10, str(two): 10}


def test_it_costs_the_same_for_two_and_for_eight(client: TestClient, ctx: Context) -> None:
    ids = made(ctx, *({"seed": number} for number in range(8)))
    with counted(ctx, client) as few:
        client.get(f"/compare?jobs={ids[0]},{ids[1]}")
    with counted(ctx, client) as many:
        assert client.get(f"/compare?jobs={','.join(map(str, ids))}").status_code == 200
    assert len(many) == len(few) < 12


def test_a_run_that_one_may_not_see_is_told_as_such(house: House) -> None:
    world = house.world
    with house.ctx.db.session(write=True) as session:
        owners.share(session, world.running, shared=True)
        session.execute(sa.update(Job).where(sa.column("id") == world.done).values(name="the secret run"))
    browser, both = house.browser("max"), f"{world.running},{world.done},{10**6}"
    page = browser.get(f"/compare?jobs={both}").text
    for number in (world.done, 10**6):
        assert f"Job {number} is not shown: it is gone, no training, or not yours to see." in page
    assert f'href="/jobs/{world.running}"' in page
    assert "not shown to you, or gone" in page  # its data set
    for hidden in ("the secret run", "dear child", "good"):
        assert hidden not in page
    assert set(browser.get(f"/compare/metrics.json?jobs={both}").json()["series"]) == {str(world.running)}
    assert house.browser().get(f"/compare?jobs={both}").headers["location"].startswith("/sign-in")


def test_which_version_of_the_rows_is_told(client: TestClient, ctx: Context) -> None:
    one, two = made(ctx, {}, {"split_by_file": True})
    with ctx.db.session(write=True) as session:
        newer = seeding.dataset(session, ctx, "newer")
        session.execute(sa.update(Dataset).where(sa.column("id") == newer).values(name="rows", version=2))
        session.execute(sa.update(Job).where(sa.column("id") == two).values(subject_id=newer))
    page = client.get(f"/compare?jobs={one},{two}").text
    assert "rows · version 2 · 20 rows" in table(page, "settings")
    assert "held-out rows are not the same" in page
