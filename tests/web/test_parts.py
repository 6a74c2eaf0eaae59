"""A file comes in parts: it goes on where it was, whatever happened in between, and nobody else can touch it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sqlmodel import col, select
from starlette.testclient import TestClient

from app.core.context import Context
from app.core.db import utcnow
from app.core.settings import LimitSettings, WebSettings
from app.core.storage import LocalStorage
from app.domain.datasets.models import Dataset
from app.domain.uploads import service as uploads
from app.domain.uploads.models import Upload
from app.main import create_app
from app.web.filters import filesize
from tests.people.conftest import House
from tests.web.seeding import lines, row

GOOD = lines(*[row(i) for i in range(40)])
JSON = {"accept": "application/json"}


def begin(client: TestClient, data: bytes = GOOD, name: str = "rows.jsonl", **other: Any) -> httpx.Response:
    form = {"filename": name, "size": len(data), "modified": 1_700_000_000_000} | other
    return client.post("/datasets/uploads", data=form, headers=JSON)


def part(client: TestClient, upload: int, offset: int, data: bytes) -> httpx.Response:
    return client.patch(f"/datasets/uploads/{upload}?offset={offset}", content=data, headers=JSON)


def finish(client: TestClient, upload: int) -> httpx.Response:
    return client.post(f"/datasets/uploads/{upload}/finish", headers=JSON)


def files(ctx: Context) -> list[Path]:
    return list(ctx.settings.files_dir.rglob("*.part"))


def the_upload(ctx: Context) -> Upload:
    with ctx.db.session() as session:
        return session.exec(select(Upload)).one()


def test_parts_of_any_size_make_the_file(client: TestClient, ctx: Context) -> None:
    assert begin(client).json() == {"id": 1, "received": 0}
    at = 0
    for size in (1, 1000, 7, 10**6):
        at = part(client, 1, at, GOOD[at : at + size]).json()["received"]
    assert at == len(GOOD)
    made = finish(client, 1)
    assert (made.status_code, made.json()) == (201, {"location": "/datasets/1"})
    with ctx.db.session() as session:
        dataset = session.get_one(Dataset, 1)
    assert dataset.sha256 == hashlib.sha256(GOOD).hexdigest()
    assert (dataset.name, dataset.size) == ("rows", len(GOOD))
    assert ctx.storage.path(dataset.source_key).read_bytes() == GOOD
    assert files(ctx) == []


def test_a_server_that_starts_anew_goes_on_where_it_was(client: TestClient, ctx: Context) -> None:
    begin(client)
    part(client, 1, 0, GOOD[:3000])
    with ctx.storage.path(the_upload(ctx).key).open("ab") as file:
        file.write(b"written by the process that was killed, and never counted")
    with TestClient(create_app(ctx.settings), base_url="http://localhost") as anew:
        assert begin(anew).json() == {"id": 1, "received": 3000}
        assert part(anew, 1, 3000, GOOD[3000:]).json() == {"received": len(GOOD)}
        assert finish(anew, 1).status_code == 201
    with ctx.db.session() as session:
        assert session.get_one(Dataset, 1).sha256 == hashlib.sha256(GOOD).hexdigest()


def test_whoever_missed_the_answer_is_told_where_it_is(client: TestClient, ctx: Context) -> None:
    begin(client)
    part(client, 1, 0, GOOD)
    assert [finish(client, 1).json()["location"] for _ in range(2)] == ["/datasets/1"] * 2
    assert begin(client).json() == {"location": "/datasets/1"}
    client.post("/datasets/1/delete")
    assert begin(client).json()["received"] == 0  # it is gone, so it is wanted again


def test_the_same_bytes_under_another_name_are_recognised(client: TestClient, ctx: Context) -> None:
    for number in (1, 2):
        upload = begin(client, name=f"{number}.jsonl").json()["id"]
        part(client, upload, 0, GOOD)
        assert finish(client, upload).json() == {"location": "/datasets/1"}
    assert "here already" in client.get("/datasets/1").text
    assert files(ctx) == []


@pytest.mark.parametrize("offset", [0, 2999, 3001, 10**15])
def test_a_wrong_place_is_refused_and_changes_nothing(client: TestClient, ctx: Context, offset: int) -> None:
    begin(client)
    part(client, 1, 0, GOOD[:3000])
    assert part(client, 1, offset, b"x" * 100).status_code == 409
    assert begin(client).json()["received"] == 3000
    assert ctx.storage.path(the_upload(ctx).key).read_bytes() == GOOD[:3000]


def test_more_than_was_told_is_refused(client: TestClient, ctx: Context) -> None:
    begin(client)
    assert part(client, 1, 0, GOOD + b"x").status_code == 413

    def unannounced() -> Any:
        yield GOOD
        yield b"x"

    assert client.patch("/datasets/uploads/1?offset=0", content=unannounced(), headers=JSON).status_code == 413
    assert begin(client).json()["received"] == 0
    assert part(client, 1, 0, GOOD).json() == {"received": len(GOOD)}


def test_not_whole_is_not_finished(client: TestClient) -> None:
    begin(client)
    part(client, 1, 0, GOOD[:-1])
    assert finish(client, 1).status_code == 409


def test_only_one_writes_at_a_time(client: TestClient, ctx: Context) -> None:
    """As in two windows: the second is told to wait, and nothing is mixed up."""
    begin(client)
    part(client, 1, 0, GOOD[:3000])
    with ctx.storage.path(the_upload(ctx).key).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused = part(client, 1, 3000, GOOD[3000:])
        assert (refused.status_code, "Another window" in refused.text) == (409, True)
    assert part(client, 1, 3000, GOOD[3000:]).status_code == 200
    assert finish(client, 1).status_code == 201


def test_bytes_that_the_disk_lost_are_asked_for_again(client: TestClient, ctx: Context) -> None:
    begin(client)
    part(client, 1, 0, GOOD[:3000])
    os.truncate(ctx.storage.path(the_upload(ctx).key), 1000)
    assert part(client, 1, 3000, GOOD[3000:]).status_code == 409
    assert begin(client).json()["received"] == 1000
    part(client, 1, 1000, GOOD[1000:])
    assert finish(client, 1).status_code == 201


def test_too_large_and_no_room_are_told_before_the_first_byte(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {"web": WebSettings(max_upload_bytes=20_000), "limits": LimitSettings(uploads=2)}
    with TestClient(create_app(ctx.settings.model_copy(update=changed)), base_url="http://localhost") as browser:
        assert begin(browser, size=20_001).status_code == 413
        assert begin(browser, size=0).status_code == 422
        assert begin(browser, size="²").status_code == 422
        assert begin(browser, name="").status_code == 422
        monkeypatch.setattr(LocalStorage, "free_bytes", lambda _self: 256_000_000 + 35_000)
        assert begin(browser, size=10_000).status_code == 200
        assert begin(browser, size=13_000).status_code == 507  # the first will bring 10,000 more
        assert begin(browser, size=12_000).status_code == 200
        assert begin(browser, size=100).status_code == 409  # the limit of a person
    with ctx.db.session() as session:
        assert len(session.exec(select(Upload)).all()) == 2


def test_what_can_not_be_used_is_told_by_its_first_part(client: TestClient, ctx: Context) -> None:
    begin(client, size=10**7, name="rows.xlsx")
    refused = part(client, 1, 0, b"PK\x03\x04" + bytes(1_500_000))
    assert (refused.status_code, "ZIP" in refused.text) == (422, True)
    assert files(ctx) == []
    assert part(client, 1, 0, b"x").status_code == 404


def test_a_small_one_is_told_at_its_end(client: TestClient, ctx: Context) -> None:
    begin(client, b"PK\x03\x04" + bytes(50))
    part(client, 1, 0, b"PK\x03\x04" + bytes(50))
    refused = finish(client, 1)
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "file")
    assert files(ctx) == []


def test_it_is_shown_and_can_be_removed(client: TestClient, ctx: Context) -> None:
    begin(client, name="../<b>big.jsonl")
    part(client, 1, 0, GOOD[:3000])
    page = client.get("/datasets/new").text
    assert "&lt;b&gt;big.jsonl" in page
    assert filesize(3000) + " of" in page
    assert client.post("/datasets/uploads/1/delete").headers["location"] == "/datasets/new"
    assert client.post("/datasets/uploads/1/delete").status_code == 404
    assert files(ctx) == []
    assert "Not whole yet" not in client.get("/datasets/new").text


def test_somebody_elses_is_not_there(house: House) -> None:
    mia = house.browser("mia")
    begin(mia)
    part(mia, 1, 0, GOOD[:3000])
    for name in ("max", "ada", "vi"):  # not even an administrator goes on with it
        other = house.browser(name)
        wanted = 404 if name != "vi" else 403
        assert part(other, 1, 3000, GOOD[3000:]).status_code == wanted
        assert finish(other, 1).status_code == wanted
        assert other.post("/datasets/uploads/1/delete", headers=JSON).status_code == wanted
    assert "Not whole yet" not in house.browser("ada").get("/datasets/new").text
    assert begin(house.browser("max")).json() == {"id": 2, "received": 0}
    part(mia, 1, 3000, GOOD[3000:])
    assert finish(mia, 1).status_code == 201


def test_what_nobody_goes_on_with_is_swept(client: TestClient, ctx: Context) -> None:
    begin(client)
    part(client, 1, 0, GOOD[:3000])
    loose = ctx.storage.make_parent("uploads/loose.part")
    loose.write_bytes(b"of a process that was killed")
    uploads.sweep(ctx)
    assert len(files(ctx)) == 2  # both may be on their way
    with ctx.db.session(write=True) as session:
        old = utcnow() - timedelta(hours=ctx.settings.web.upload_hours, minutes=1)
        session.execute(sa.update(Upload).where(col(Upload.id) == 1).values(updated_at=old))
    for file in files(ctx):
        os.utime(file, (time.time() - 7200,) * 2)
    uploads.sweep(ctx)
    assert files(ctx) == []
    assert begin(client).json()["received"] == 0


def test_both_databases_keep_the_count(any_ctx: Context) -> None:
    with TestClient(create_app(any_ctx.settings), base_url="http://localhost") as browser:
        assert begin(browser).json() == begin(browser).json() == {"id": 1, "received": 0}
        assert part(browser, 1, 0, GOOD[:3000]).json() == {"received": 3000}
        assert part(browser, 1, 0, GOOD[:3000]).status_code == 409
        assert begin(browser, name="other.jsonl", size=9).json() == {"id": 2, "received": 0}
        with any_ctx.db.session(write=True) as session:
            assert uploads.awaited_bytes(session) == len(GOOD) - 3000 + 9
            old = utcnow() - timedelta(hours=any_ctx.settings.web.upload_hours, minutes=1)
            session.execute(sa.update(Upload).where(col(Upload.id) == 2).values(updated_at=old))
        uploads.sweep(any_ctx)
        with any_ctx.db.session() as session:
            assert [upload.id for upload in session.exec(select(Upload))] == [1]
        part(browser, 1, 3000, GOOD[3000:])
        assert finish(browser, 1).json() == begin(browser).json() == {"location": "/datasets/1"}
