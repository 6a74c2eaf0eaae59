"""Uploaded files through a real runner and a real child process."""

from __future__ import annotations

import hashlib
import json

import pytest

from app.core.context import Context
from app.domain.datasets import service as datasets
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.datasets.split import validation_rows
from app.domain.jobs import service as jobs
from app.domain.jobs.states import JobKind
from worker.runner import Runner

GOOD = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}


def upload(ctx: Context, data: bytes, name: str = "rows.jsonl") -> int:
    key = f"datasets/{name}"
    ctx.storage.make_parent(key).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    with ctx.db.session(write=True) as session:
        made = datasets.create_from_upload(
            session, ctx.bells, name=name, filename=name, size=len(data), sha256=digest, source_key=key
        )
        return made.id or 0


def take_in(ctx: Context, data: bytes) -> Dataset:
    dataset_id = upload(ctx, data)
    assert Runner(ctx, "w", "light").run_waiting() == 1
    with ctx.db.session() as session:
        return datasets.get_dataset(session, dataset_id)


def lines(*rows: object) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


@pytest.mark.slow
def test_a_clean_file_becomes_canonical_rows(any_ctx: Context) -> None:
    dataset = take_in(any_ctx, lines(*[GOOD] * 20))
    assert (dataset.state, dataset.row_count, dataset.problem_count) == (DatasetState.READY, 20, 0)
    assert datasets.preview_rows(any_ctx.storage, dataset, 19, 5) == [GOOD]
    with any_ctx.db.session() as session:
        job = jobs.list_jobs(session, kinds=(JobKind.INTAKE,))[0]
    assert job.state == "succeeded"


def test_each_bad_line_is_named_and_the_good_ones_are_kept(ctx: Context) -> None:
    data = lines(
        *[GOOD] * 6, b'{"messages": [', GOOD, b"\xff\xfe\xfd{}", {"messages": [{"role": "user", "content": "x"}]}
    )
    dataset = take_in(ctx, data)
    assert (dataset.state, dataset.row_count, dataset.problem_count) == (DatasetState.NEEDS_CHOICE, 7, 3)
    with ctx.db.session() as session:
        found = datasets.problems(session, dataset.id or 0)
    assert [(p.line, p.code) for p in found] == [(7, "invalid_json"), (9, "not_utf8"), (10, "no_assistant")]
    assert all(data[p.offset :].startswith(data.split(b"\n")[p.line - 1]) for p in found)
    with ctx.db.session(write=True) as session:
        datasets.accept_good_rows(session, dataset.id or 0)
        assert datasets.get_dataset(session, dataset.id or 0).state == DatasetState.READY


@pytest.mark.parametrize(
    "data, words",
    [
        (b"\n\n   \n", "no rows"),
        (b"\x00\x01\x02\xff" * 100, "binary"),
        (b'{"foo": 1}\n', "No known format"),
        (b"not json at all\n", "Not one line could be read"),
        (b'[{"messages": []}]', "JSON array"),
    ],
)
def test_a_file_of_no_use_fails_with_a_sentence(ctx: Context, data: bytes, words: str) -> None:
    dataset = take_in(ctx, data)
    assert dataset.state == DatasetState.FAILED
    assert words in dataset.error


def test_a_file_deleted_under_the_job_is_told(ctx: Context) -> None:
    dataset_id = upload(ctx, lines(GOOD))
    ctx.storage.delete("datasets/rows.jsonl")
    Runner(ctx, "w", "light").run_waiting()
    with ctx.db.session() as session:
        dataset = datasets.get_dataset(session, dataset_id)
    assert dataset.state == DatasetState.FAILED
    assert "can't be read" in dataset.error


def test_questions_come_from_the_held_out_rows(ctx: Context) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"Question {n}?"}, {"role": "assistant", "content": f"Answer {n}."}]}
        for n in range(30)
    ]
    dataset = take_in(ctx, lines(*rows))
    found = datasets.propose_questions(ctx.storage, dataset, count=3)
    held_out = validation_rows(30, 0.1, 3407)
    assert {q.prompt for q in found} == {f"Question {n}?" for n in held_out}
    assert all(q.expected == q.prompt.replace("Question", "Answer").replace("?", ".") for q in found)


def test_a_file_with_more_rows_than_are_taken_is_refused(ctx: Context) -> None:
    ctx.settings.limits.rows = 3
    assert take_in(ctx, lines(*[GOOD] * 3)).row_count == 3
    refused = take_in(ctx, lines(*[GOOD] * 4))
    assert refused.state == DatasetState.FAILED
    assert "more than 3 rows" in refused.error


def test_a_row_too_deep_for_other_readers_is_a_problem(ctx: Context) -> None:
    call = {"function": {"name": "f", "arguments": json.loads("[" * 300 + "]" * 300)}}
    deep = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "", "tool_calls": [call]}]}
    wide = {"messages": [*GOOD["messages"]] * 200}
    dataset = take_in(ctx, lines(GOOD, deep, wide))
    assert (dataset.row_count, dataset.problem_count) == (2, 1)
    with ctx.db.session() as session:
        [problem] = datasets.problems(session, dataset.id or 0)
    assert (problem.line, problem.code) == (2, "too_deep")
