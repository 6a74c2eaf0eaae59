"""The form of a new job: proposals, errors beside fields, the panel, the launch."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.jobs import service as jobs
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.states import JobKind
from app.domain.models.catalogue import BUNDLED
from tests.web import seeding

PARTIAL = {"hx-request-type": "partial", "hx-target": "aside#estimate"}


@pytest.fixture
def dataset(ctx: Context) -> int:
    with ctx.db.session(write=True) as session:
        return seeding.dataset(session, ctx)


def fields(dataset: int, **changes: Any) -> dict[str, Any]:
    basic = {"dataset_id": dataset, "name": "mine", "base_model": BUNDLED, "question_prompt": ["One?", "", "Two?"]}
    blank = {"question_system": ["", "", "Be brief."], "question_expected": ["", "", "2"]}
    modules = {"target_modules": ["q_proj", "v_proj"]}
    return basic | blank | modules | changes


def trainings(ctx: Context) -> list[Any]:
    with ctx.db.session() as session:
        return jobs.list_jobs(session)


def test_everything_is_pre_filled(client: TestClient, dataset: int) -> None:
    page = client.get(f"/jobs/new?dataset={dataset}").text
    assert f'value="{BUNDLED}"' in page
    assert 'value="2e-4"' in page
    assert page.count("Question ") >= 4
    assert "18 train, 2 validate" in page
    assert "field-error" not in page


def test_a_launch_keeps_what_was_chosen(client: TestClient, ctx: Context, dataset: int) -> None:
    chosen = {"learning_rate": "1e-3", "validation_split": "25", "packing": "on", "max_steps": "7", "lora_r": "8"}
    answer = client.post("/jobs", data=fields(dataset, **chosen))
    assert answer.status_code == 303
    (job,) = trainings(ctx)
    assert answer.headers["location"] == f"/jobs/{job.id}"
    config = TrainConfig.model_validate(job.config)
    assert (config.learning_rate, config.validation_split, config.packing) == (1e-3, 0.25, True)
    assert (config.max_steps, config.lora_r, config.target_modules) == (7, 8, ("q_proj", "v_proj"))
    assert [(q.prompt, q.system, q.expected) for q in config.questions] == [
        ("One?", "", ""),
        ("Two?", "Be brief.", "2"),
    ]
    page = client.get(f"/jobs/{job.id}").text
    assert "1e-3" in page
    assert "Nobody can take this job yet" in page


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("learning_rate", "-1", "Learning rate must be more than 0"),
        ("learning_rate", "fast", "“fast” is not a number"),
        ("learning_rate", "", "Learning rate"),
        ("num_train_epochs", "nan", "Epochs"),
        ("per_device_train_batch_size", "0", "Batch size must be at least 1"),
        ("per_device_train_batch_size", "1.5", "a whole number"),
        ("validation_split", "90", "must be at most 50 %"),
        ("validation_split", "x", "Kept for validation"),
        ("lora_dropout", "1", "must be less than 1"),
        ("base_model", "", "Base model: fill this in"),
        ("base_model", "no such thing", "neither a Hub id"),
        ("base_model", "acme/unknown-7b", "not on this machine"),
        ("base_model", "https://evil.example/x", "Hub id"),
        ("base_model", "/etc", "not below an allowed root"),
        ("name", "  ", "Give the tuned model a name"),
        ("dataset_id", "999", "There is no data set 999"),
        ("dataset_id", "abc", "data set"),
        ("engine", "magic", "Engine"),
        ("target_modules", [], "at least one module"),
        ("seed", "99999999999", "Seed must be at most"),
        ("question_prompt", ["x" * 5000, "", ""], "too long"),
    ],
)
def test_each_error_stands_beside_its_field(
    client: TestClient, ctx: Context, dataset: int, name: str, value: Any, words: str
) -> None:
    if name == "learning_rate" and not value:
        return  # an empty field means the default
    answer = client.post("/jobs", data=fields(dataset, **{name: value}))
    assert answer.status_code == 422
    assert words in answer.text
    assert 'class="errors"' in answer.text
    assert name == "question_prompt" or "One?" in answer.text  # nothing typed is lost
    assert trainings(ctx) == []


def test_all_errors_are_told_at_once(client: TestClient, dataset: int) -> None:
    page = client.post("/jobs", data=fields(dataset, name="", learning_rate="-1", lora_r="0")).text
    for words in ("Give the tuned model a name", "Learning rate must be", "LoRA rank must be"):
        assert words in page
    assert '<details class="fold" open' in page.replace("  ", " ") or 'open=""' in page  # the field is in Advanced


def test_one_row_cannot_be_split(client: TestClient, ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        single = seeding.dataset(session, ctx, "single", rows=1)
    answer = client.post("/jobs", data=fields(single))
    assert answer.status_code == 422
    assert "can&#39;t be split" in answer.text
    assert client.post("/jobs", data=fields(single, validation_split="0")).status_code == 303


def test_a_data_set_with_an_open_choice_is_refused(client: TestClient, ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        open_choice = seeding.dataset(session, ctx, "bad", problems=1)
    answer = client.post("/jobs", data=fields(open_choice))
    assert "decide about them first" in answer.text


def test_the_panel_starts_one_audit_and_tells_what_it_found(client: TestClient, ctx: Context, dataset: int) -> None:
    first = client.post("/jobs/new/panel", data=fields(dataset), headers=PARTIAL)
    assert "The audit waits for a worker" in first.text
    client.post("/jobs/new/panel", data=fields(dataset), headers=PARTIAL)
    with ctx.db.session(write=True) as session:
        (audit,) = jobs.list_jobs(session, kinds=(JobKind.AUDIT,))
        seeding.end(session, audit, result=seeding.REPORT.model_dump(mode="json"))
    page = client.post("/jobs/new/panel", data=fields(dataset), headers=PARTIAL).text
    assert "3 rows are longer than 64 tokens" in page
    assert "891" in page  # 900 less the 9 that are cut off
    assert "<html" not in page


def test_the_panel_says_what_is_wrong_and_starts_nothing(client: TestClient, ctx: Context, dataset: int) -> None:
    page = client.post("/jobs/new/panel", data=fields(dataset, base_model="a/b"), headers=PARTIAL).text
    assert "not on this machine" in page
    page = client.post("/jobs/new/panel", data=fields(dataset, lora_r="-3"), headers=PARTIAL).text
    assert "LoRA rank must be" in page
    with ctx.db.session() as session:
        assert jobs.list_jobs(session, kinds=(JobKind.AUDIT,)) == []


def test_questions_are_proposed_for_the_data_set_chosen(client: TestClient, ctx: Context, dataset: int) -> None:
    headers = {"hx-request-type": "partial", "hx-target": "div#questions"}
    before = fields(dataset) | {"question_was": ["One?"]}
    page = client.post("/jobs/new/questions", data=before, headers=headers).text
    assert page.count("Question ") >= 4
    assert "One?" not in page


def test_another_jobs_settings_can_be_changed_and_run_again(client: TestClient, world: seeding.World) -> None:
    page = client.get(f"/jobs/new?like={world.failed}").text
    assert "Why is the sky blue?" in page
    assert 'value="failed"' in page


def test_a_form_that_is_too_large_is_refused(client: TestClient, dataset: int) -> None:
    assert client.post("/jobs", data=fields(dataset, name="x" * 1_100_000)).status_code == 413
    many = "&".join(f"a{i}=1" for i in range(600))
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/jobs", content=many, headers=kind).status_code == 422
    assert client.post("/jobs", content=b"name=\xff\xfe", headers=kind).status_code == 422


def test_a_deleted_data_set_is_not_replaced_by_another(client: TestClient, ctx: Context, dataset: int) -> None:
    page = client.get("/jobs/new?dataset=999").text
    assert "The data set that was meant is gone, or not ready. Choose one." in page
    assert 'value="" selected' in page
    assert f'<option value="{dataset}" selected' not in page


def test_enter_in_a_field_starts_nothing(client: TestClient, dataset: int) -> None:
    page = client.get("/jobs/new").text
    form = page[page.index('id="job-form"') :]
    assert form.index('<button type="submit" disabled hidden>') < form.index("<input")


def test_an_expected_answer_does_not_outlive_its_question(client: TestClient, ctx: Context, dataset: int) -> None:
    asked = {
        "question_prompt": ["What is new?", "Why is the sky blue?"],
        "question_system": ["", ""],
        "question_expected": ["The pyramids.", "Scattering."],
        "question_was": ["Who built them?", "Why is the sky blue?"],
        "question_expected_was": ["The pyramids.", "Scattering."],
    }
    answer = client.post("/jobs", data=fields(dataset) | asked)
    with ctx.db.session() as session:
        job = jobs.get_job(session, int(answer.headers["location"].rsplit("/", 1)[1]))
    assert [question["expected"] for question in job.config["questions"]] == ["", "Scattering."]


def test_typed_questions_stay_when_the_data_set_changes(client: TestClient, dataset: int) -> None:
    typed = {
        "question_prompt": ["My own question?", "Proposed?"],
        "question_system": ["", ""],
        "question_expected": ["", ""],
        "question_was": ["Other?", "Proposed?"],
    }
    found = client.post("/jobs/new/questions", data=fields(dataset) | typed).text
    assert "My own question?" in found
    assert "Proposed?" not in found
    assert "Question 1" in found


def test_decimals_may_be_written_with_a_comma(client: TestClient, ctx: Context, dataset: int) -> None:
    typed = {"learning_rate": "0,0002", "num_train_epochs": "1,5", "weight_decay": "0,1", "validation_split": "12,5"}
    answer = client.post("/jobs", data=fields(dataset) | typed)
    assert answer.status_code == 303, answer.text
    with ctx.db.session() as session:
        config = jobs.get_job(session, int(answer.headers["location"].rsplit("/", 1)[1])).config
    assert (config["learning_rate"], config["num_train_epochs"], config["weight_decay"]) == (2e-4, 1.5, 0.1)
    assert config["validation_split"] == 0.125
