"""Uploaded files through a real runner and a real child process."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd

from app.core.context import Context
from app.domain.datasets import service as datasets
from app.domain.datasets.held_out import propose_questions
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.datasets.split import Split, validation_rows
from app.domain.jobs import service as jobs
from app.domain.jobs.states import JobKind
from worker.runner import Runner

GOOD = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}


def lines(*rows: object) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def upload(ctx: Context, data: bytes, name: str = "rows.jsonl") -> int:
    key = f"datasets/{name}"
    ctx.storage.make_parent(key).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    with ctx.db.session(write=True) as session:
        made = datasets.create_from_upload(
            session, ctx.bells, name=name, filename=name, size=len(data), sha256=digest, source_key=key
        )
        return made.id or 0


def take_in(ctx: Context, data: bytes, name: str = "rows.jsonl") -> Dataset:
    dataset_id = upload(ctx, data, name)
    assert Runner(ctx, "w", "light").run_waiting() == 1
    with ctx.db.session() as session:
        return datasets.get_dataset(session, dataset_id)


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
        (b"not json at all\n", "Not one row could be read"),
        (b'[{"messages": []}]', "Not one row could be read"),
        (b"a,a\n1,2\n3,4\n", "stands there twice"),
        (b"PAR1 and no more", "Parquet file is damaged"),
        (gzip.compress(lines(GOOD), mtime=0)[:-9], "cut off"),
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
    found = propose_questions(ctx.storage, dataset, Split(), count=3)
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


def table(rows: list[dict[str, object]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


QA: list[dict[str, object]] = [{"Question": f"{n}?", "Complex_CoT": 'Hm, "so".', "Response": f"{n}!"} for n in range(9)]
SHAPES = {
    "lines": lines(*QA),
    "array": json.dumps(QA).encode(),
    "indented array": json.dumps(QA, indent=2).encode(),
    "objects": b"\n".join(json.dumps(row, indent=1).encode() for row in QA),
    "table": b"Question\tComplex_CoT\tResponse\r\n"
    + b"".join(b'%d?\t"Hm, ""so""."\t%d!\r\n' % (n, n) for n in range(9)),
    "parquet": table(QA),
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress], ids=["plain", "gz", "zst"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_kind_of_file_gives_the_same_rows(ctx: Context, shape: str, pack: Callable[[bytes], bytes]) -> None:
    dataset = take_in(ctx, pack(SHAPES[shape]), "anything")
    assert (dataset.state, dataset.row_count, dataset.format) == (DatasetState.READY, 9, "columns")
    answer = {"role": "assistant", "content": "8!", "reasoning": 'Hm, "so".'}
    assert datasets.preview_rows(ctx.storage, dataset, 8) == [{"messages": [{"role": "user", "content": "8?"}, answer]}]


def test_messages_come_out_of_parquet_with_what_each_turn_has(ctx: Context) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    turns = [*GOOD["messages"], {"role": "assistant", "content": None, "tool_calls": [call]}]
    dataset = take_in(ctx, table([{"messages": turns}, {"messages": GOOD["messages"]}]))
    first, second = datasets.preview_rows(ctx.storage, dataset)
    assert second == GOOD
    assert first["messages"][2]["tool_calls"][0]["function"] == {"name": "f", "arguments": {"x": 1}}


def test_preferences_are_kept_and_not_trained(ctx: Context) -> None:
    dataset = take_in(ctx, lines(*[{"prompt": "2+2?", "chosen": "4", "rejected": "5"}] * 3))
    assert (dataset.state, dataset.row_count) == (DatasetState.KEPT, 3)


def test_rows_by_the_short_way_and_by_the_long_one_are_counted_alike(ctx: Context) -> None:
    thinks = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "<think>a</think>b"}]}
    twice = b'{"messages": [], "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "b"}]}'
    bare = {"messages": [{"role": "user", "content": "Hi"}]}
    wide = GOOD | {"id": 7}
    plain = lines(*[GOOD] * 5).replace(b"\n", b"\r\n")
    dataset = take_in(ctx, plain + lines(thinks, twice, bare, wide, b"", GOOD)[:-1])
    assert (dataset.row_count, dataset.problem_count) == (8, 2)
    stats = dataset.stats
    assert (stats["turns"], stats["with_reasoning"], stats["characters"]) == (16, 1, 7 * 8 + 3)
    assert stats["codes"] == {"key_twice": 1, "no_assistant": 1}
    with ctx.db.session() as session:
        assert [(p.line, p.code) for p in datasets.problems(session, dataset.id or 0)] == [
            (7, "key_twice"),
            (8, "no_assistant"),
        ]
    kept = ctx.storage.path(dataset.rows_key).read_bytes()
    assert kept.count(b"\n") == 8
    assert hashlib.sha256(kept).hexdigest() == stats["rows_sha256"]
