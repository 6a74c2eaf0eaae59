"""What can be taken away of a data set, and how it is called."""

from __future__ import annotations

import re
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.datasets import service as datasets
from app.web.downloads import disposition
from tests.web import seeding


@pytest.fixture
def dataset(ctx: Context) -> int:
    with ctx.db.session(write=True) as session:
        number = seeding.dataset(session, ctx)
        datasets.get_dataset(session, number).filename = "Gespräche “neu”.jsonl"
        return number


def test_both_files_are_taken_away_byte_for_byte(client: TestClient, ctx: Context, dataset: int) -> None:
    page = client.get(f"/datasets/{dataset}").text
    assert f'href="/datasets/{dataset}/original"' in page
    assert f'href="/datasets/{dataset}/rows.jsonl"' in page
    answer = client.get(f"/datasets/{dataset}/original")
    assert answer.content == ctx.storage.path("datasets/rows.jsonl").read_bytes()
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "content-encoding" not in answer.headers
    assert "filename*=UTF-8''Gespr%C3%A4che%20%E2%80%9Cneu%E2%80%9D.jsonl" in answer.headers["content-disposition"]
    client.post(f"/datasets/{dataset}/exclude", data={"number": "1"})
    for address in ("/datasets/2/rows.jsonl", "/api/datasets/2/rows.jsonl"):
        answer = client.get(address)
        assert answer.content.count(b"\n") == 19
        assert answer.headers["content-disposition"] == 'attachment; filename="rows v2.jsonl"'
    assert client.get("/datasets/2/original").content == client.get("/api/datasets/1/original").content
    assert client.get("/datasets/2/rows.jsonl", headers={"range": "bytes=0-3"}).content == answer.content[:4]
    client.post("/datasets/1/delete")
    assert client.get("/datasets/2/original").status_code == 404
    assert "/original" not in client.get("/datasets/2").text
    assert client.get("/datasets/2/rows.jsonl").status_code == 200


def test_what_uses_it_is_shown_and_keeps_it(client: TestClient, ctx: Context, dataset: int) -> None:
    with ctx.db.session(write=True) as session:
        other = seeding.dataset(session, ctx, "other")
        seeding.training(session, ctx, other, "judged by it", validation_dataset=dataset)
    page = client.get(f"/datasets/{dataset}").text
    assert "judged by it" in page
    assert "looks at its loss on these rows" in page
    answer = client.post(f"/datasets/{dataset}/delete")
    assert answer.status_code == 409
    assert "“judged by it” is using this data set" in answer.text


@given(name=st.text(max_size=200))
def test_no_name_leads_out_or_ends_the_header(name: str) -> None:
    header = disposition(name)
    assert header.isascii()
    assert header.isprintable()
    message = Message()
    message["content-disposition"] = header
    found = message.get_filename()
    assert found
    assert "/" not in found
    assert "\\" not in found
    assert re.fullmatch(r"attachment; filename=\"[^\"]+\"(; filename\*=UTF-8''[\w.~%-]+)?", header)
