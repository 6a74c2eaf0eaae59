"""What is held out: no copy on both sides, another data set's rows, the same for the audit and the training."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session

from app.core.context import Context
from app.domain.datasets import audits
from app.domain.datasets import service as datasets
from app.domain.datasets.split import Split, validation_rows, without_copies
from app.domain.errors import ConflictError, InvalidError
from app.domain.jobs.launch import launch_training
from app.domain.jobs.models import Job
from app.domain.jobs.states import JobState
from app.domain.models.catalogue import BUNDLED
from tests.web import seeding
from worker.splitting import write_split


@given(keys=st.lists(st.integers(0, 30), min_size=2, max_size=80), seed=st.integers(0, 5))
def test_no_copy_is_on_both_sides(keys: list[int], seed: int) -> None:
    drawn = validation_rows(len(keys), 0.25, seed)
    held = without_copies(drawn, keys, seed)
    assert {keys[k] for k in held}.isdisjoint({key for k, key in enumerate(keys) if k not in held})
    assert len(held) <= len(drawn)
    assert held == without_copies(drawn, keys, seed)
    alone = sum(keys.count(key) == 1 for key in keys)
    assert len(held) >= min(len(drawn), alone)


def test_without_copies_the_split_is_as_drawn() -> None:
    drawn = validation_rows(50, 0.1, 3407)
    assert without_copies(drawn, list(range(50)), 3407) == drawn


def test_the_files_of_a_job_hold_every_row_once(tmp_path: Path) -> None:
    rows = [json.dumps({"row": k % 40}) for k in range(50)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows) + "\n")
    write_split(tmp_path / "rows.jsonl", None, Split(fraction=0.2), tmp_path, threading.Event())
    train, held = ((tmp_path / name).read_text().splitlines() for name in ("train.jsonl", "validation.jsonl"))
    assert sorted(train + held) == sorted(rows)
    assert len(held) == 10
    assert set(train).isdisjoint(held)
    numbers = json.loads((tmp_path / "held_out.json").read_text())
    assert [rows[k] for k in numbers] == held


def test_another_data_set_is_held_out_whole(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("1\n2\n")
    (tmp_path / "b.jsonl").write_text("3\n")
    write_split(tmp_path / "a.jsonl", tmp_path / "b.jsonl", Split(dataset_id=2), tmp_path, threading.Event())
    assert (tmp_path / "train.jsonl").read_text() == "1\n2\n"
    assert (tmp_path / "validation.jsonl").read_text() == "3\n"


def launch(session: Session, ctx: Context, dataset: int, held: int) -> Job:
    config = seeding.CONFIG.model_copy(update={"validation_dataset": held})
    return launch_training(session, ctx.bells, ctx.settings, dataset_id=dataset, name="mine", config=config)


def test_a_held_out_data_set_is_checked_and_kept_while_it_is_used(any_ctx: Context) -> None:
    with any_ctx.db.session(write=True) as session:
        rows, held = seeding.dataset(session, any_ctx), seeding.dataset(session, any_ctx, "held", rows=5)
        for wrong in (rows, 99):
            with pytest.raises(InvalidError) as caught:
                launch(session, any_ctx, rows, wrong)
            assert set(caught.value.errors) == {"validation_dataset"}
        job = launch(session, any_ctx, rows, held)
        assert job.config["validation_dataset"] == held
        with pytest.raises(ConflictError, match="using this data set"):
            datasets.delete_dataset(session, any_ctx.bells, held)


def test_the_same_question_is_asked_once_and_a_stale_answer_is_not_shown(ctx: Context, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    with ctx.db.session(write=True) as session:
        number = seeding.dataset(session, ctx)
        dataset = datasets.get_dataset(session, number)

        def ask(model: str = BUNDLED, revision: str = "", split: Split | None = None) -> int:
            return audits.request_audit(session, ctx.bells, number, model, revision, split).id or 0

        first = ask()
        assert ask() == first
        others = {ask(revision="v2"), ask(split=Split(seed=1)), ask(str(folder))}
        assert len(others | {first}) == 4
        local = ask(str(folder))
        (folder / "tokenizer.json").write_text('{"changed": 1}')
        assert local not in {job.id for job in audits.list_audits(session, dataset)}
        assert ask(str(folder)) != local
        assert first in {job.id for job in audits.list_audits(session, dataset)} | {ask()}
        dataset.rows_key = "runs/99/a1/rows.jsonl"
        assert audits.list_audits(session, dataset) == []
        assert ask() != first


def test_a_failed_audit_is_asked_again(ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        number = seeding.dataset(session, ctx)
        job = audits.request_audit(session, ctx.bells, number, BUNDLED)
        seeding.end(session, job, JobState.FAILED)
        assert audits.request_audit(session, ctx.bells, number, BUNDLED).id != job.id
