"""Data sets of the Hub, through a real runner and the real library, from a stand-in that speaks its protocol."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.core.context import Context, make_context
from app.core.settings import HubSettings
from app.domain.datasets import origins
from app.domain.datasets import service as datasets
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.datasets.rereading import read_again
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Job
from app.domain.jobs.states import JobKind
from app.domain.secrets.service import HUB_TOKEN, set_secret
from app.domain.users.access import Actor, Role
from app.domain.users.scoping import act_as
from tests.fakehub import BAD_TOKEN, READ_TOKEN, WRITE_TOKEN, FakeHub, fake_hub
from tests.worker.conftest import NewHost
from worker.runner import Runner

__all__ = ["fake_hub"]
pytestmark = pytest.mark.slow


def row(number: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"Q{number}?"}, {"role": "assistant", "content": f"A{number}."}]}


def lines(first: int, count: int) -> bytes:
    return "\n".join(json.dumps(row(n)) for n in range(first, first + count)).encode()  # no line break at the end


def parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


@pytest.fixture
def hub_ctx(ctx: Context, fake_hub: FakeHub) -> Iterator[Context]:
    """A worker whose Hub is the stand-in."""
    hub = HubSettings(endpoint=fake_hub.endpoint, disable_xet=True)
    made = make_context(ctx.settings.model_copy(update={"hub": hub}), worker=True)
    yield made
    made.db.dispose()


def ask(ctx: Context, repo_id: str = "alice/talks", **wish: str) -> int:
    wanted = {"config": "", "split": "", "revision": ""} | wish
    with ctx.db.session(write=True) as session:
        return origins.from_hub(session, ctx.bells, ctx.settings, repo_id=repo_id, **wanted).id or 0


def run(ctx: Context, dataset_id: int) -> Dataset:
    assert Runner(ctx, "w", "light").run_waiting() == 1
    with ctx.db.session() as session:
        return datasets.get_dataset(session, dataset_id)


def token(ctx: Context, value: str) -> None:
    with ctx.db.session(write=True) as session:
        set_secret(session, ctx.settings, HUB_TOKEN, value)


def newest_job(ctx: Context) -> Job:
    with ctx.db.session() as session:
        return jobs.list_jobs(session, kinds=(JobKind.INTAKE,), limit=1)[0]


def questions(ctx: Context, dataset: Dataset) -> list[str]:
    return [each["messages"][0]["content"] for each in datasets.preview_rows(ctx.storage, dataset, 0, 10_000)]


def test_one_file_comes_as_it_is_and_is_read(hub_ctx: Context, fake_hub: FakeHub) -> None:
    data = lines(0, 30)
    commit = fake_hub.add("alice/talks", {"README.md": b"# Talks", "data.jsonl": data})
    number = ask(hub_ctx)
    dataset = run(hub_ctx, number)
    assert dataset.error == ""
    assert (dataset.state, dataset.row_count, dataset.name) == (DatasetState.READY, 30, "talks")
    assert (dataset.size, dataset.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (dataset.filename, dataset.origin["commit"]) == ("data.jsonl", commit)
    assert hub_ctx.storage.path(dataset.source_key).read_bytes() == data
    assert not hub_ctx.storage.path(dataset.source_key + ".part").exists()


def test_several_files_of_a_part_become_one(hub_ctx: Context, fake_hub: FakeHub) -> None:
    many = {f"data/train-0000{n}-of-00003.parquet": parquet([row(n * 10 + k) for k in range(10)]) for n in range(3)}
    fake_hub.add("alice/parquet", many)
    dataset = run(hub_ctx, ask(hub_ctx, "alice/parquet"))
    assert questions(hub_ctx, dataset) == [f"Q{n}?" for n in range(30)]

    packed = {"train/1.jsonl.gz": gzip.compress(lines(0, 5)), "train/2.jsonl.gz": gzip.compress(lines(5, 5))}
    fake_hub.add("alice/packed", packed)
    assert questions(hub_ctx, run(hub_ctx, ask(hub_ctx, "alice/packed"))) == [f"Q{n}?" for n in range(10)]

    arrays = {f"train_{n}.json": json.dumps([row(n * 2), row(n * 2 + 1)], indent=1).encode() for n in range(2)}
    fake_hub.add("alice/arrays", arrays)
    assert questions(hub_ctx, run(hub_ctx, ask(hub_ctx, "alice/arrays"))) == [f"Q{n}?" for n in range(4)]

    tables = {f"{n}.csv": f'question,answer\nQ{n}?,"A, or\nB"\n'.encode() for n in range(3)}
    fake_hub.add("alice/tables", tables)
    assert questions(hub_ctx, run(hub_ctx, ask(hub_ctx, "alice/tables"))) == [f"Q{n}?" for n in range(3)]


CARD = b"""---
configs:
- config_name: short
  data_files:
  - split: train
    path: short/*.jsonl
  - split: test
    path: short/held/**
- config_name: long
  data_dir: long
---
# Talks
"""
FILES = {
    "README.md": CARD,
    "short/a.jsonl": lines(0, 2),
    "short/b.jsonl": lines(2, 2),
    "short/held/x/c.jsonl": lines(4, 2),
    "long/train.jsonl": lines(10, 2),
    "long/validation.jsonl": lines(20, 2),
}


def test_of_several_parts_one_is_chosen(hub_ctx: Context, fake_hub: FakeHub) -> None:
    fake_hub.add("alice/talks", FILES)
    number = ask(hub_ctx)
    dataset = run(hub_ctx, number)
    assert dataset.state == DatasetState.NEEDS_PART
    found = [(part["config"], part["split"], part["files"]) for part in dataset.stats["choices"]]
    assert found == [("short", "train", 2), ("short", "test", 1), ("long", "train", 1), ("long", "validation", 1)]
    fake_hub.add("alice/talks", {"README.md": b"all is gone at a newer commit"})
    with hub_ctx.db.session(write=True) as session:
        origins.choose_part(session, hub_ctx.bells, number, 1)
    dataset = run(hub_ctx, number)
    assert (dataset.state, questions(hub_ctx, dataset)) == (DatasetState.READY, ["Q4?", "Q5?"])
    assert (dataset.origin["config"], dataset.origin["split"]) == ("short", "test")


def test_a_part_that_is_named_is_not_asked_for(hub_ctx: Context, fake_hub: FakeHub) -> None:
    fake_hub.add("alice/talks", FILES)
    dataset = run(hub_ctx, ask(hub_ctx, config="short", split="train"))
    assert questions(hub_ctx, dataset) == ["Q0?", "Q1?", "Q2?", "Q3?"]
    wrong = run(hub_ctx, ask(hub_ctx, config="shrt"))
    assert (wrong.state, "no part “shrt”" in wrong.error) == (DatasetState.FAILED, True)
    assert "short / train" in newest_job(hub_ctx).error["advice"]


def test_the_hubs_own_copy_stands_in_for_files_that_can_not_be_read(hub_ctx: Context, fake_hub: FakeHub) -> None:
    fake_hub.add("alice/old", {"old.py": b"print('never run')", "data.zip": b"PK"})
    copy = {f"plain/train/{n:04}.parquet": parquet([row(n)]) for n in range(2)}
    fake_hub.add("alice/old", copy, branch="refs/convert/parquet")
    assert questions(hub_ctx, run(hub_ctx, ask(hub_ctx, "alice/old"))) == ["Q0?", "Q1?"]
    fake_hub.add("alice/zip", {"data.zip": b"PK"})
    assert "no file that can be read" in run(hub_ctx, ask(hub_ctx, "alice/zip")).error


def test_of_the_hubs_own_copy_one_part_is_chosen_and_comes_alone(hub_ctx: Context, fake_hub: FakeHub) -> None:
    fake_hub.add("alice/old", {"data.zip": b"PK"})
    names = ("default/train", "en/train", "en/test")
    copy = {f"{name}/0000.parquet": parquet([row(number)]) for number, name in enumerate(names)}
    fake_hub.add("alice/old", copy, branch="refs/convert/parquet")
    for name, question in (("en / train", "Q1?"), ("default / train", "Q0?")):
        number = ask(hub_ctx, "alice/old")
        found = [f"{part['config']} / {part['split']}" for part in run(hub_ctx, number).stats["choices"]]
        with hub_ctx.db.session(write=True) as session:
            origins.choose_part(session, hub_ctx.bells, number, found.index(name))
        dataset = run(hub_ctx, number)
        assert (dataset.error, questions(hub_ctx, dataset)) == ("", [question])
    named = run(hub_ctx, ask(hub_ctx, "alice/old", revision="refs/convert/parquet", config="en", split="test"))
    assert questions(hub_ctx, named) == ["Q2?"]


@pytest.mark.parametrize(
    "stored, repo_id, flags, message, advice",
    [
        ("", "alice/nothing", {}, "no data set named alice/nothing, or it is private", "store a Hub token"),
        ("", "alice/talks", {"private": True}, "or it is private", "store a Hub token"),
        (READ_TOKEN, "alice/talks", {"gated": True}, "terms to be accepted", "Accept them on its page"),
        (BAD_TOKEN, "alice/talks", {}, "does not accept the stored token", "Store a valid Hub token"),
    ],
    ids=["missing", "private", "gated", "bad token"],
)
def test_what_the_hub_refuses_is_said_in_words(
    hub_ctx: Context, fake_hub: FakeHub, stored: str, repo_id: str, flags: dict[str, Any], message: str, advice: str
) -> None:
    fake_hub.add("alice/talks", {"data.jsonl": lines(0, 3)}, **flags)
    if stored:
        token(hub_ctx, stored)
    dataset = run(hub_ctx, ask(hub_ctx, repo_id))
    assert dataset.state == DatasetState.FAILED
    assert message in dataset.error
    assert advice in newest_job(hub_ctx).error["advice"]
    token(hub_ctx, WRITE_TOKEN)
    if repo_id == "alice/talks":
        with hub_ctx.db.session(write=True) as session:
            origins.fetch_again(session, hub_ctx.bells, dataset.id or 0)
        assert run(hub_ctx, dataset.id or 0).state == DatasetState.READY


def test_a_revision_that_is_not_there(hub_ctx: Context, fake_hub: FakeHub) -> None:
    fake_hub.add("alice/talks", {"data.jsonl": lines(0, 3)})
    assert "no revision “v9”" in run(hub_ctx, ask(hub_ctx, revision="v9")).error


def test_a_hub_that_is_away_is_said_so(hub_ctx: Context, fake_hub: FakeHub) -> None:
    number = ask(hub_ctx)
    fake_hub.stop()
    dataset = run(hub_ctx, number)
    assert (dataset.state, "could not be reached" in dataset.error) == (DatasetState.FAILED, True)


def test_a_members_fetch_gets_the_stored_token_only_where_it_is_theirs(hub_ctx: Context, fake_hub: FakeHub) -> None:
    fake_hub.add("alice/secret", {"data.jsonl": lines(0, 3)}, private=True)
    token(hub_ctx, WRITE_TOKEN)
    member = Actor(7, "mia", Role.MEMBER)

    def as_member(ctx: Context) -> int:
        with ctx.db.session(write=True) as session:
            act_as(session, member)
            made = origins.from_hub(
                session, ctx.bells, ctx.settings, repo_id="alice/secret", config="", split="", revision=""
            )
            return made.id or 0

    dataset = run(hub_ctx, as_member(hub_ctx))
    assert "or it is private" in dataset.error
    assert "ask an administrator" in newest_job(hub_ctx).error["advice"]
    opened = hub_ctx.settings.hub.model_copy(update={"members_fetch_from": ["Alice"]})
    allowed = make_context(hub_ctx.settings.model_copy(update={"hub": opened}), worker=True)
    assert run(allowed, as_member(allowed)).state == DatasetState.READY
    allowed.db.dispose()


def test_the_same_bytes_are_told(hub_ctx: Context, fake_hub: FakeHub) -> None:
    fake_hub.add("alice/talks", {"data.jsonl": lines(0, 3)})
    first, second = (run(hub_ctx, ask(hub_ctx)) for _ in range(2))
    assert (first.origin.get("twin"), second.origin.get("twin")) == (None, first.id)


def test_it_tells_how_far_it_is_and_can_be_cancelled(hub_ctx: Context, fake_hub: FakeHub) -> None:
    fake_hub.add("alice/talks", {"data.jsonl": lines(0, 60_000)})
    fake_hub.block_seconds = 0.1
    number = ask(hub_ctx)
    runner = threading.Thread(target=Runner(hub_ctx, "w", "light").run_waiting)
    runner.start()
    until = time.monotonic() + 60
    while not ((job := newest_job(hub_ctx)).phase == "downloading" and job.phase_done) and time.monotonic() < until:
        time.sleep(0.05)
    assert job.phase_total == len(lines(0, 60_000))
    with hub_ctx.db.session(write=True) as session:
        jobs.cancel(session, hub_ctx.bells, job.id or 0)
    runner.join(60)
    assert newest_job(hub_ctx).state == "cancelled"

    fake_hub.block_seconds = 0.0
    with hub_ctx.db.session(write=True) as session:
        origins.fetch_again(session, hub_ctx.bells, number)
    dataset = run(hub_ctx, number)
    assert (dataset.state, dataset.row_count) == (DatasetState.READY, 60_000)


def test_what_one_host_fetched_another_reads(new_host: NewHost, fake_hub: FakeHub) -> None:
    fake_hub.add("alice/talks", {"data.jsonl": lines(0, 30)})
    hub: Any = HubSettings(endpoint=fake_hub.endpoint, disable_xet=True)
    first, second = new_host("first", hub=hub), new_host("second", hub=hub)
    dataset = run(first, ask(first))
    assert (dataset.error, dataset.row_count) == ("", 30)
    assert second.storage.ensure(dataset.source_key).read_bytes() == lines(0, 30)
    fake_hub.stop()
    with second.db.session(write=True) as session:
        read_again(session, second.bells, dataset.id or 0, "messages", {"messages": "messages"}, [("Q", "Z")])
    assert questions(second, run(second, dataset.id or 0))[0] == "Z0?"
