"""Several values tried at once: from the form and as JSON, refused as a whole, compared on one page."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.errors import InvalidError
from app.domain.jobs import service as jobs
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.models import Job, Score
from app.domain.jobs.states import JobState
from app.domain.models.catalogue import BUNDLED
from app.domain.sweeps.grid import combinations, run_name
from tests.people.conftest import House
from tests.web import seeding
from tests.web.test_compare import table
from tests.web.test_new_job import PARTIAL, fields, trainings
from tests.web.test_pages import counted

CONFIG = TrainConfig(base_model=BUNDLED)
TRIED = {"sweep_field": ["learning_rate", "lora_r", ""], "sweep_values": ["1e-4, 2e-4", "8, 16", ""]}


@pytest.fixture
def dataset(ctx: Context) -> int:
    with ctx.db.session(write=True) as session:
        return seeding.dataset(session, ctx)


def test_every_combination_has_its_name() -> None:
    made = combinations(CONFIG, {"learning_rate": [1e-4, 5e-5], "lora_r": [8, 16]}, "teller")
    assert [name for name, _ in made] == [
        "teller, lr 1e-4, r 8", "teller, lr 1e-4, r 16", "teller, lr 5e-5, r 8", "teller, lr 5e-5, r 16",
    ]  # fmt: skip
    assert [(c.learning_rate, c.lora_r) for _, c in made] == [(1e-4, 8), (1e-4, 16), (5e-5, 8), (5e-5, 16)]
    assert run_name("x" * 200, CONFIG, ["num_train_epochs"]) == "x" * 190 + ", epochs 3"
    assert len(combinations(CONFIG, {"seed": [1, 1, 2]}, "x")) == 2


@pytest.mark.parametrize(
    "grid, name, words",
    [
        ({"base_model": ["a", "b"]}, "base_model", "can't be tried in several values"),
        ({"seed": []}, "seed", "Give the values"),
        ({"seed": [1]}, "seed", "two values at least"),
        ({"seed": [3407, 3407.0, "3407"]}, "seed", "All these values are the same"),
        ({"seed": [1, "1"]}, "seed", "All these values are the same"),
        ({"seed": list(range(25))}, "seed", "25 combinations; 24 at most"),
        ({"seed": list(range(5)), "lora_r": list(range(1, 6))}, "lora_r", "25 combinations"),
        ({"seed": [1], "lora_r": [1], "lora_alpha": [1], "max_steps": [1, 2]}, "max_steps", "Three settings at most"),
        ({"lora_r": [8, 0]}, "lora_r", "greater than or equal to 1"),
        ({}, "grid", "two values at least"),
    ],
)
def test_what_is_no_grid_is_said_so(grid: dict[str, list[Any]], name: str, words: str) -> None:
    with pytest.raises(InvalidError) as refused:
        combinations(CONFIG, grid, "x")
    assert words in refused.value.errors[name]


def test_the_form_starts_one_training_for_each_combination(client: TestClient, ctx: Context, dataset: int) -> None:
    answer = client.post("/jobs", data=fields(dataset, priority="whenever", **TRIED))
    assert answer.headers["location"] == "/sweeps/1"
    found = trainings(ctx)[::-1]
    assert [(job.name, job.config["lora_r"], job.sweep_id, job.priority < 0) for job in found] == [
        ("mine, lr 1e-4, r 8", 8, 1, True), ("mine, lr 1e-4, r 16", 16, 1, True),
        ("mine, lr 2e-4, r 8", 8, 1, True), ("mine, lr 2e-4, r 16", 16, 1, True),
    ]  # fmt: skip
    assert [job.position for job in found] == sorted(job.position for job in found)
    page = client.get("/sweeps/1").text
    assert "Sweep over Learning rate, LoRA rank" in page
    assert "4 waiting" in page
    assert 'href="/sweeps/1"' in client.get(f"/jobs/{found[0].id}").text
    answer = client.post("/sweeps/1/cancel")
    assert "4 waiting trainings were cancelled." in client.get(answer.headers["location"]).text
    assert {job.state for job in trainings(ctx)} == {JobState.CANCELLED}


@pytest.mark.parametrize(
    "tried, words",
    [
        ([("lora_r", "8, x")], "“x” is not a whole number"),
        ([("lora_r", "8, 0")], "LoRA rank must be at least 1"),
        ([("lora_r", "8")], "two values at least"),
        ([("lora_r", " , ")], "Give the values to try"),
        ([("", "1, 2")], "Choose the setting"),
        ([("dataset_id", "1, 2")], "Choose the setting"),
        ([("seed", "1, 2"), ("seed", "3, 4")], "Seed is chosen twice"),
        ([("seed", "1,2,3,4,5"), ("lora_r", "1,2,3,4,5")], "25 combinations; 24 at most"),
        ([("seed", ",".join(map(str, range(900))))], "24 values at most"),
        ([("lr_scheduler_type", "linear, wavy")], "Schedule"),
    ],
)
def test_what_is_wrong_stands_beside_its_values(
    client: TestClient, ctx: Context, dataset: int, tried: list[tuple[str, str]], words: str
) -> None:
    typed = {"sweep_field": [field for field, _ in tried], "sweep_values": [values for _, values in tried]}
    answer = client.post("/jobs", data=fields(dataset, **typed))
    assert answer.status_code == 422
    place = answer.text.index(f'id="f-sweep_values-{len(tried)}-error"')
    assert words in answer.text[place : place + 400]
    assert f'href="#f-sweep_values-{len(tried)}"' in answer.text
    assert f'value="{tried[-1][1][:900].strip()}' in answer.text  # nothing typed is lost
    assert trainings(ctx) == []
    assert "trainings start" not in client.post("/jobs/new/panel", data=fields(dataset, **typed), headers=PARTIAL).text


def test_a_comma_in_a_number_needs_semicolons(client: TestClient, ctx: Context, dataset: int) -> None:
    typed = {"sweep_field": ["learning_rate"], "sweep_values": ["0,0001; 0,0002"]}
    assert client.post("/jobs", data=fields(dataset, **typed)).is_redirect
    assert {job.config["learning_rate"] for job in trainings(ctx)} == {1e-4, 2e-4}


def test_how_many_will_start_is_told_before(client: TestClient, dataset: int) -> None:
    typed = {"sweep_field": ["seed", "lora_r"], "sweep_values": ["1, 2, 3", "8, 16"]}
    panel = client.post("/jobs/new/panel", data=fields(dataset, **typed), headers=PARTIAL).text
    assert "6 trainings start" in panel
    assert "mine, seed 3, r 16" in panel
    assert "also chooses which rows are held out" in panel


def test_an_adapter_that_is_gone_on_from_keeps_its_rank(client: TestClient, ctx: Context, world: seeding.World) -> None:
    typed = {"sweep_field": ["lora_r"], "sweep_values": ["16, 32"], "adapter_of": world.done, "target_modules": []}
    modules = {"target_modules": list(CONFIG.target_modules)}
    answer = client.post("/jobs", data=fields(world.dataset, **(typed | modules)))
    assert answer.status_code == 422
    assert "this must stay as it was there" in answer.text
    assert len(trainings(ctx)) == 4  # none of it was started, not even the one that fits


def test_a_sweep_as_json(client: TestClient, ctx: Context, dataset: int) -> None:
    wish = {"dataset_id": dataset, "name": "grid", "config": {"base_model": BUNDLED}}
    answer = client.post("/api/sweeps", json=wish | {"grid": {"lora_r": [8, 16], "lr_scheduler_type": ["cosine"]}})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == "/api/sweeps/1"
    assert [run["values"] for run in made["runs"]] == [
        {"lora_r": 8, "lr_scheduler_type": "cosine"}, {"lora_r": 16, "lr_scheduler_type": "cosine"},
    ]  # fmt: skip
    assert (made["best"], made["fields"]) == (None, ["lora_r", "lr_scheduler_type"])
    assert client.get("/api/sweeps/1").json() == made
    assert {run["job"]["state"] for run in client.post("/api/sweeps/1/cancel").json()["runs"]} == {"cancelled"}
    for grid, name in (({"lora_r": [0, 1]}, "lora_r"), ({"x": [1, 2]}, "x"), ({"seed": list(range(99))}, "seed")):
        refused = client.post("/api/sweeps", json=wish | {"grid": grid})
        assert refused.status_code == 422
        assert name in refused.json()["error"]["fields"]
    assert client.get("/api/sweeps/2").status_code == 404


def test_the_best_is_that_of_the_lowest_validation_loss(client: TestClient, ctx: Context, dataset: int) -> None:
    wish = {"dataset_id": dataset, "name": "grid", "config": {"base_model": BUNDLED}, "grid": {"seed": [1, 2, 3]}}
    ids = [run["job"]["id"] for run in client.post("/api/sweeps", json=wish).json()["runs"]]
    with ctx.db.session(write=True) as session:
        for number, value in zip(ids[:2], (0.9, 0.5), strict=True):
            job = jobs.get_job(session, number)
            seeding.run(session, job)
            session.add(Score(job_id=number, name="eval_loss", side="after", value=value))
            assert jobs.move(session, number, [JobState.RUNNING], JobState.SUCCEEDED)
    page = client.get("/sweeps/1").text
    assert "Best so far: grid, seed 2" in page
    assert "2 0.5000 Best" in table(page, "combinations")
    assert f'href="/jobs/new?like={ids[1]}"' in page
    assert f'href="/jobs/new?further={ids[1]}"' in page
    assert client.get("/api/sweeps/1").json()["best"] == ids[1]
    for number in ids:
        client.delete(f"/api/jobs/{number}")
    assert client.get("/sweeps/1").status_code == 404  # nothing of it is left


def test_its_page_costs_the_same_for_two_and_for_many(client: TestClient, ctx: Context, dataset: int) -> None:
    wish = {"dataset_id": dataset, "name": "grid", "config": {"base_model": BUNDLED}}
    for values in ([1, 2], list(range(24))):
        assert client.post("/api/sweeps", json=wish | {"grid": {"seed": values}}).status_code == 201
    with counted(ctx, client) as few:
        client.get("/sweeps/1")
    with counted(ctx, client) as many:
        assert "The curves are those of the eight" in client.get("/sweeps/2").text
    assert len(many) == len(few) < 14


def test_more_than_one_may_have_is_refused_as_a_whole(house: House) -> None:
    house.share(shared=True)
    house.app.state.ctx.settings.limits.live_jobs = 3
    browser = house.browser("max")
    answer = browser.post("/jobs", data=fields(house.world.dataset, **TRIED))
    assert answer.status_code == 429
    assert "These are 4 trainings, and 0 of your jobs wait or run already; 3 may at a time." in answer.text
    assert 'value="1e-4, 2e-4"' in answer.text
    wish = {"dataset_id": house.world.dataset, "name": "x", "config": {"base_model": BUNDLED}}
    assert browser.post("/api/sweeps", json=wish | {"grid": {"seed": [1, 2, 3, 4]}}).status_code == 429
    with house.ctx.db.session() as session:
        mine = sa.select(sa.func.count()).select_from(Job).where(Job.owner_id == house.ids["max"])  # type: ignore[arg-type]
        assert session.execute(mine).scalar_one() == 0
    assert browser.post("/api/sweeps", json=wish | {"grid": {"seed": [1, 2, 3]}}).status_code == 201


def test_of_a_sweep_only_the_runs_that_are_shared_are_shown(house: House) -> None:
    world, browser = house.world, house.browser("max")
    assert browser.get(f"/sweeps/{world.sweep}").status_code == 404
    house.browser("mia").post(f"/jobs/{world.done}/share", data={"shared": "yes"})
    page = browser.get(f"/sweeps/{world.sweep}").text
    assert "1 combination" in page
    assert ">running<" not in page
    assert "Cancel all that wait" not in page
    assert browser.post(f"/sweeps/{world.sweep}/cancel").status_code == 403
    assert [run["job"]["id"] for run in browser.get(f"/api/sweeps/{world.sweep}").json()["runs"]] == [world.done]
