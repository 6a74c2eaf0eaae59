"""The ways in beside the upload: forms where the settings allow them, words where they do not, parts to choose."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from sqlmodel import Session, select
from starlette.testclient import TestClient

from app.core.context import Context
from app.core.settings import HubSettings, SourceSettings
from app.domain.datasets import origins
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.datasets.rereading import read_again
from app.domain.datasets.service import get_dataset
from app.domain.errors import ConflictError
from app.domain.jobs import service as jobs
from app.domain.jobs.states import JobKind, JobState
from app.domain.models.catalogue import BUNDLED
from app.main import create_app
from tests.people.conftest import House


@pytest.fixture
def open_client(ctx: Context) -> Iterator[TestClient]:
    changes = {
        "hub": HubSettings(endpoint="http://127.0.0.1:1"),
        "sources": SourceSettings(url_hosts=["data.example.org"]),
    }
    app = create_app(ctx.settings.model_copy(update=changes))
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as browser:
        yield browser


def the_dataset(ctx: Context) -> Dataset:
    with ctx.db.session() as session:
        return session.exec(select(Dataset)).one()


def test_a_data_set_of_the_hub_is_asked_for(open_client: TestClient, ctx: Context) -> None:
    page = open_client.get("/datasets/new").text
    assert 'action="/datasets/hub"' in page
    assert 'action="/datasets/url"' in page
    wish = {"repo_id": " alice/talks ", "config": "short", "split": "train", "revision": "refs/pr/1"}
    assert open_client.post("/datasets/hub", data=wish).headers["location"] == "/datasets/1"
    dataset = the_dataset(ctx)
    assert (dataset.name, dataset.state, dataset.origin["revision"]) == ("talks", DatasetState.CHECKING, "refs/pr/1")
    shown = open_client.get("/datasets/1").text
    assert "alice/talks / short / train @ refs/pr/1 is being fetched from the Hub." in shown
    assert "Waiting for a worker" in shown
    assert open_client.get("/datasets/1/mapping").status_code == 200


def test_a_script_gets_json(open_client: TestClient) -> None:
    head = {"accept": "application/json"}
    made = open_client.post("/datasets/hub", data={"repo_id": "alice/talks"}, headers=head)
    assert (made.status_code, made.json()) == (201, {"location": "/datasets/1"})
    refused = open_client.post("/datasets/url", data={"source_url": "https://example.org/a"}, headers=head)
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "source_url")


@pytest.mark.parametrize(
    "path, form, field",
    [
        ("hub", {"repo_id": "talks"}, "repo_id"),
        ("hub", {"repo_id": "alice/talks", "revision": "../x"}, "revision"),
        ("hub", {"repo_id": "alice/talks", "split": "s" * 201}, "config"),
        ("url", {"source_url": "https://evil.example.org/<b>"}, "source_url"),
        ("url", {"source_url": ""}, "source_url"),
    ],
)
def test_what_can_not_be_asked_for_is_said_beside_its_field(
    open_client: TestClient, path: str, form: dict[str, str], field: str
) -> None:
    page = open_client.post(f"/datasets/{path}", data=form)
    assert page.status_code == 422
    assert f'id="f-{field}-error"' in page.text
    assert f'href="#f-{field}"' in page.text
    assert "<b>" not in page.text


def test_an_address_is_asked_for_and_its_key_is_not_shown(open_client: TestClient, ctx: Context) -> None:
    open_client.post("/datasets/url", data={"source_url": "https://data.example.org/rows.jsonl?key=s3cr3t"})
    assert (the_dataset(ctx).name, the_dataset(ctx).filename) == ("rows", "rows.jsonl")
    for path in ("/datasets/1", "/datasets", "/jobs"):
        assert "s3cr3t" not in open_client.get(path).text


def test_where_it_is_off_it_is_said_so(client: TestClient, ctx: Context) -> None:
    page = client.get("/datasets/new").text
    assert "TUNEDECK_HUB__OFFLINE" in page
    assert "/datasets/url" not in page
    assert client.post("/datasets/hub", data={"repo_id": "alice/talks"}).status_code == 422


def found(ctx: Context, number: int, **state: Any) -> None:
    """What a worker stored."""
    with ctx.db.session(write=True) as session:
        job = jobs.list_jobs(session, kinds=(JobKind.INTAKE,), limit=1)[0]
        job.state = state.pop("job", JobState.SUCCEEDED)
        session.add(job)
        parts = [{"config": "<i>", "split": name, "files": 2, "size": 10**6} for name in ("train", "test")]
        origins.store_choices(session, number, {"choices": parts, "commit": "c" * 40})


def test_one_of_several_parts_is_chosen(open_client: TestClient, ctx: Context) -> None:
    open_client.post("/datasets/hub", data={"repo_id": "alice/talks"})
    found(ctx, 1)
    page = open_client.get("/datasets/1").text
    assert "&lt;i&gt; / train" in page
    assert "2 files" in page
    assert "Needs a look" in open_client.get("/datasets").text
    for odd in ("2", "-1", "x", ""):
        assert open_client.post("/datasets/1/part", data={"number": odd}).status_code == 422
    assert open_client.post("/datasets/1/part", data={"number": "1"}).status_code == 303
    assert (the_dataset(ctx).origin["split"], the_dataset(ctx).origin["commit"]) == ("test", "c" * 40)
    assert open_client.post("/datasets/1/part", data={"number": "1"}).status_code == 409


def test_before_its_file_is_here_it_is_neither_trained_on_nor_read_again(open_client: TestClient, ctx: Context) -> None:
    open_client.post("/datasets/hub", data={"repo_id": "alice/talks"})
    found(ctx, 1)
    for config in ({"base_model": BUNDLED}, {"base_model": BUNDLED, "validation_dataset": 1}):
        refused = open_client.post("/api/jobs", json={"dataset_id": 1, "name": "x", "config": config})
        assert (refused.status_code, "choose one of them first" in refused.text) == (422, True)
    with ctx.db.session(write=True) as session, pytest.raises(ConflictError, match="not here yet"):
        read_again(session, ctx.bells, 1, "messages", {"messages": "m"}, [])
    assert open_client.post("/datasets/1/fetch").status_code == 409
    assert the_dataset(ctx).state == DatasetState.NEEDS_PART


@pytest.mark.parametrize("state", [DatasetState.NEEDS_PART, DatasetState.CHECKING])
def test_of_two_requests_at_once_one_fetches(
    any_ctx: Context, monkeypatch: pytest.MonkeyPatch, state: DatasetState
) -> None:
    ctx, rules = any_ctx, SourceSettings(url_hosts=["example.org"])
    with ctx.db.session(write=True) as session:
        settings = ctx.settings.model_copy(update={"sources": rules})
        origins.from_url(session, ctx.bells, settings, "https://example.org/rows.jsonl")
    found(ctx, 1)
    with ctx.db.session(write=True) as session:
        session.get_one(Dataset, 1).state = state
    both = threading.Barrier(2)

    def slow(session: Session, number: int) -> Dataset:
        dataset = get_dataset(session, number)
        with suppress(threading.BrokenBarrierError):  # SQLite lets the second in when the first is done
            both.wait(1)
        return dataset

    monkeypatch.setattr("app.domain.datasets.origins.get_dataset", slow)

    def ask(_: int) -> bool:
        try:
            with ctx.db.session(write=True) as session:
                if state == DatasetState.NEEDS_PART:
                    origins.choose_part(session, ctx.bells, 1, 0)
                else:
                    origins.fetch_again(session, ctx.bells, 1)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(ask, range(2))) == [False, True]
    with ctx.db.session() as session:
        assert len(jobs.list_jobs(session, kinds=(JobKind.INTAKE,))) == 2


def test_a_fetch_that_was_cancelled_is_begun_again(open_client: TestClient, ctx: Context) -> None:
    open_client.post("/datasets/hub", data={"repo_id": "alice/talks"})
    assert open_client.post("/datasets/1/fetch").status_code == 409
    assert open_client.post("/jobs/1/cancel").status_code == 303
    assert "Fetch it again" in open_client.get("/datasets/1").text
    assert open_client.post("/datasets/1/fetch").status_code == 303
    assert "Waiting for a worker" in open_client.get("/datasets/1").text


def test_only_its_owner_chooses(house: House) -> None:
    with house.ctx.db.session(write=True) as session:
        origin = {"kind": "url", "url": "https://example.org/a"}
        made = Dataset(name="d", filename="d", size=0, sha256="", source_key="datasets/x", origin=origin, shared=True)
        made.owner_id, made.state = house.ids["mia"], DatasetState.NEEDS_PART
        made.stats = {"choices": [{"config": "c", "split": "s", "files": 1, "size": 1}], "commit": ""}
        session.add(made)
        session.flush()
        here = f"/datasets/{made.id}"
    other = house.browser("max")
    assert "c / s" not in other.get(here).text
    assert other.post(f"{here}/part", data={"number": "0"}).status_code == 403
    assert other.post(f"{here}/fetch").status_code == 403
    assert "c / s" in house.browser("mia").get(here).text
