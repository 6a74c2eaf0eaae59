"""A column that says what is held out: read, kept, counted, used by a job, and asked questions from."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.datasets import audits, held_out, sides
from app.domain.datasets import service as datasets
from app.domain.datasets.formats import convert, detect, merged
from app.domain.datasets.held_out import propose_questions
from app.domain.datasets.models import Dataset
from app.domain.datasets.split import Split, validation_rows, without_copies
from app.domain.jobs import service as jobs
from tests.web import seeding
from tests.web.conftest import client
from tests.web.test_new_job import fields
from worker.audit.report import _numbers
from worker.runner import Runner
from worker.splitting import write_few, write_split

__all__ = ["client"]


def chat(number: int, **more: Any) -> dict[str, Any]:
    return seeding.row(number) | more


@pytest.mark.parametrize(
    ("cell", "side"),
    [
        *((word, "validation") for word in ("validation", " Valid ", "val", "DEV", "eval")),
        ("Train", "train"),
        ("test", "test"),
        *((cell, "") for cell in (None, "", "fold 3", 1, ["test"])),
    ],
)
def test_a_cell_names_its_side(cell: object, side: str) -> None:
    row = chat(1, Split=cell)
    kind, mapping = detect(merged([chat(1, Split="x")]))
    assert mapping["split"] == "Split"
    assert convert(row, kind, mapping).get("split", "") == side


@given(text=st.text(max_size=30), side=st.sampled_from(["", *sides.SIDES]))
def test_the_side_is_taken_off_and_nothing_else(text: str, side: str) -> None:
    row = {"text": text + ',"split":"test"}'}
    line = json.dumps(row | ({"split": side} if side else {}), separators=(",", ":")).encode() + b"\n"
    bare, found = sides.bare(line)
    assert (json.loads(bare), found) == (row, side)


def marked(client: TestClient, ctx: Context) -> Dataset:
    """30 rows: 18 to train on, 6 for validation (one repeats one of those), 3 for testing, 3 that say nothing."""
    words = ["train"] * 18 + ["dev"] * 6 + ["test"] * 3 + ["?"] * 3
    made = [chat(number if number != 23 else 0, split=word) for number, word in enumerate(words)]
    client.post("/datasets", files={"file": ("marked.jsonl", seeding.lines(*made))})
    assert Runner(ctx, "w", "light").run_waiting() == 1
    with ctx.db.session() as session:
        return datasets.list_datasets(session)[0]


def test_the_file_decides_where_it_is_asked_to(client: TestClient, ctx: Context) -> None:
    dataset = marked(client, ctx)
    number = dataset.id or 0
    assert sides.counts(dataset.stats) == {"train": 18, "validation": 6, "test": 3}
    assert "The rows say: 18 train, 6 validate, 3 test." in client.get(f"/datasets/{number}").text
    page = client.get(f"/jobs/new?dataset={number}").text
    assert '<option value="file" selected' in page.replace("  ", " ")
    assert "Question 18?" in page
    assert "Question 2?" not in page
    assert "21 train, 6 validate" in page
    answer = client.post("/jobs", data=fields(number, validation_dataset="file"))
    assert answer.status_code == 303, answer.text
    with ctx.db.session() as session:
        job = jobs.list_jobs(session)[0]
        assert job.config["split_by_file"] is True
        assert job.config["validation_dataset"] == 0
    again = client.get(f"/jobs/new?like={job.id}").text
    assert '<option value="file" selected' in again.replace("  ", " ")
    assert "Split as the file says" in client.get(f"/jobs/{job.id}").text
    panel = client.post("/jobs/new/panel", data=fields(number)).text
    assert "The rows themselves say which are held out." in panel


def test_what_the_file_does_not_say_is_refused(client: TestClient, ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        plain = seeding.dataset(session, ctx)
    answer = client.post("/jobs", data=fields(plain, validation_dataset="file"))
    assert answer.status_code == 422
    assert "No row of this data set says that it is held out" in answer.text
    wish = {"dataset_id": plain, "name": "n", "config": {"base_model": "bundled", "split_by_file": True}}
    wish["config"]["validation_dataset"] = plain  # type: ignore[index]
    assert "Either the file says" in client.post("/api/jobs", json=wish).text


def test_rows_for_testing_are_in_neither_file_of_a_job(client: TestClient, ctx: Context, tmp_path: Path) -> None:
    rows = ctx.storage.path(marked(client, ctx).rows_key)
    write_split(rows, None, Split(by_file=True), tmp_path, threading.Event())
    train, held = ((tmp_path / name).read_text().splitlines() for name in ("train.jsonl", "validation.jsonl"))
    assert (len(train), len(held)) == (21, 6)
    assert all(set(json.loads(line)) == {"messages"} for line in train + held)
    assert json.loads((tmp_path / "held_out.json").read_text()) == list(range(18, 24))
    assert json.loads((tmp_path / "left_out.json").read_text()) == [24, 25, 26]
    assert _numbers(tmp_path, 21, 6) == ([*range(1, 19), 28, 29, 30], [*range(19, 25)])
    write_few(rows, 20, tmp_path)
    assert all(set(json.loads(line)) == {"messages"} for line in (tmp_path / "train.jsonl").read_text().splitlines())


def test_copies_on_two_sides_are_still_copies(client: TestClient, ctx: Context, tmp_path: Path) -> None:
    dataset = marked(client, ctx)
    write_split(ctx.storage.path(dataset.rows_key), None, Split(fraction=0.3), tmp_path, threading.Event())
    train, held = ((tmp_path / name).read_text().splitlines() for name in ("train.jsonl", "validation.jsonl"))
    assert set(train).isdisjoint(held)
    client.post(f"/datasets/{dataset.id}/exclude", data={"what": "copies"})
    with ctx.db.session() as session:
        made = datasets.list_datasets(session)[0]
    assert made.row_count == 29
    assert sides.counts(made.stats) == {"train": 18, "validation": 5, "test": 3}


def test_a_row_is_moved_to_another_side(client: TestClient, ctx: Context) -> None:
    from tests.web.test_versions import fields as row_fields

    dataset = marked(client, ctx)
    address = f"/datasets/{dataset.id}/rows/1/edit"
    typed = row_fields(client.get(address).text)
    assert typed["split"] == ["train"]
    assert client.post(address, data=typed | {"split": "validation"}).status_code == 303
    with ctx.db.session() as session:
        made = datasets.list_datasets(session)[0]
    assert sides.counts(made.stats) == {"train": 17, "validation": 7, "test": 3}


def test_an_old_audit_is_still_the_answer_to_the_same_question(client: TestClient, ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        number = seeding.dataset(session, ctx)
        job = audits.request_audit(session, ctx.bells, number, "a/b")
        assert job.config["split"] == {"fraction": 0.1, "seed": 3407, "dataset_id": 0}


@pytest.mark.parametrize("exact", [20_000, 10])
def test_questions_come_from_rows_that_the_job_holds_out(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, exact: int
) -> None:
    """Copies of rows that are trained on are not among them, however large the file is."""
    monkeypatch.setattr(held_out, "EXACT", exact)
    with ctx.db.session(write=True) as session:
        dataset = datasets.get_dataset(session, seeding.dataset(session, ctx, rows=60))
        other = datasets.get_dataset(session, seeding.dataset(session, ctx, "other", rows=3))
    path = ctx.storage.path(dataset.rows_key)
    path.write_bytes(seeding.lines(*[seeding.row(number % 40) for number in range(60)]))
    split = Split(fraction=0.3, seed=5)
    drawn = validation_rows(60, 0.3, 5)
    held = without_copies(drawn, held_out.keys_of(path), 5)
    asked = {f"Question {number % 40}?" for number in held}
    found = [question.prompt for question in propose_questions(ctx.storage, dataset, split, count=4)]
    assert len(found) == 4
    assert set(found) <= asked
    found = [each.prompt for each in propose_questions(ctx.storage, dataset, Split(dataset_id=2), other)]
    assert found == ["Question 0?", "Question 1?", "Question 2?"]
    assert len(propose_questions(ctx.storage, dataset, Split(fraction=0))) == 4
