"""Files come in: streamed, hashed, checked, and gone again when anything goes wrong."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import resource
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import select
from starlette.requests import ClientDisconnect, Request
from starlette.testclient import TestClient

from app.core.context import Context
from app.core.settings import WebSettings
from app.core.storage import LocalStorage
from app.domain.datasets.models import Dataset, DatasetProblem
from app.domain.errors import DomainError
from app.main import create_app
from app.web.incoming import Received, receive
from tests.web.seeding import lines, row
from worker.runner import Runner

GOOD = lines(*[row(i) for i in range(6)])


def send(client: TestClient, data: bytes, name: str = "rows.jsonl", **headers: str) -> Any:
    return client.post("/datasets", files={"file": (name, data)}, headers=headers)


def in_a_loop(work: Coroutine[Any, Any, Received]) -> Received:
    """In a thread of its own: once a browser test ran, Playwright keeps a loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def left_behind(ctx: Context) -> list[Path]:
    return list(ctx.settings.files_dir.rglob("*.part"))


def stored(ctx: Context) -> list[Dataset]:
    with ctx.db.session() as session:
        return list(session.exec(select(Dataset)))


def test_the_plain_form_leads_to_the_data_set(client: TestClient, ctx: Context) -> None:
    answer = send(client, GOOD)
    assert (answer.status_code, answer.headers["location"]) == (303, "/datasets/1")
    (dataset,) = stored(ctx)
    assert (dataset.name, dataset.filename, dataset.size) == ("rows", "rows.jsonl", len(GOOD))
    assert dataset.sha256 == hashlib.sha256(GOOD).hexdigest()
    assert ctx.storage.path(dataset.source_key).read_bytes() == GOOD
    assert left_behind(ctx) == []
    page = client.get("/datasets/1").text
    assert "Question 0?" in page
    assert "Checking" in page


def test_a_script_gets_json(client: TestClient) -> None:
    answer = send(client, GOOD, accept="application/json")
    assert (answer.status_code, answer.json()) == (201, {"location": "/datasets/1"})


def test_the_name_can_be_given(client: TestClient, ctx: Context) -> None:
    client.post("/datasets", files={"file": ("x.jsonl", GOOD)}, data={"name": " My rows "})
    assert stored(ctx)[0].name == "My rows"


def test_pasted_text_is_a_file_like_any_other(client: TestClient, ctx: Context) -> None:
    made = client.post("/datasets", files={"pasted": (None, GOOD)}, data={"name": ""})
    assert made.headers["location"] == "/datasets/1"
    assert Runner(ctx, "w", "light").run_waiting() == 1
    assert (stored(ctx)[0].name, stored(ctx)[0].row_count) == ("pasted text", 6)
    assert client.post("/datasets", files={"pasted": (None, b"")}).status_code == 422


@pytest.mark.parametrize(
    "data, name, shown",
    [
        (b"Question,Response\nWhy?,Because.\n", "a.csv", "Because."),
        (gzip.compress(GOOD), "rows.jsonl.gz", "Question 0?"),
        (b'[{"instruction": "Sing.", "output": "La."}]', "rows.json", "La."),
    ],
)
def test_a_first_look_is_there_at_once_whatever_the_file_is(
    client: TestClient, ctx: Context, data: bytes, name: str, shown: str
) -> None:
    send(client, data, name)
    assert shown in client.get("/datasets/1").text
    assert stored(ctx)[0].name in {"a", "rows"}


def test_the_same_bytes_lead_to_what_is_here(client: TestClient, ctx: Context) -> None:
    send(client, GOOD)
    answer = send(client, GOOD, "copy.jsonl")
    assert answer.headers["location"] == "/datasets/1"
    assert "here already" in client.get("/datasets/1").text
    assert len(stored(ctx)) == 1
    assert left_behind(ctx) == []


@pytest.mark.parametrize(
    "data, name, words",
    [
        (b"", "empty.jsonl", "empty"),
        (b"PK\x03\x04" + bytes(50), "rows.xlsx", "ZIP"),
        (b"\x00\x01\x02" * 50, "rows.bin", "binary"),
        (b"\xff\xfe{\x00", "rows.jsonl", "UTF-16"),
        (GOOD, "", "Choose a file"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_at_once(
    client: TestClient, ctx: Context, data: bytes, name: str, words: str
) -> None:
    page = send(client, data, name)
    assert page.status_code == 422
    assert words in page.text
    assert 'id="f-file-error"' in page.text
    told = send(client, data, name, accept="application/json")
    assert (told.status_code, told.json()["error"]["field"]) == (422, "file")
    assert words in told.json()["error"]["message"]
    assert (stored(ctx), left_behind(ctx)) == ([], [])


@pytest.mark.parametrize("body, kind", [(b"", "text/plain"), (b"junk", "multipart/form-data; boundary=x"), (b"", "")])
def test_what_is_no_form_is_refused(client: TestClient, ctx: Context, body: bytes, kind: str) -> None:
    answer = client.post("/datasets", content=body, headers={"content-type": kind, "accept": "application/json"})
    assert answer.status_code == 422
    assert left_behind(ctx) == []


def test_too_large_is_told_by_the_headers_and_by_the_bytes(ctx: Context) -> None:
    small = ctx.settings.model_copy(update={"web": WebSettings(max_upload_bytes=1000)})
    with TestClient(create_app(small), base_url="http://localhost") as browser:
        assert send(browser, bytes(60_000)).status_code == 413
        slightly = send(browser, GOOD + b" " * 1000, accept="application/json")
        assert slightly.status_code == 413
    assert (stored(ctx), left_behind(ctx)) == ([], [])


def test_no_room_is_told_before_the_first_byte(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalStorage, "free_bytes", lambda _self: 1000)
    answer = send(client, GOOD, accept="application/json")
    assert answer.status_code == 507
    assert "no room" in answer.json()["error"]["message"]


def multipart(data: bytes, boundary: str = "b0undary") -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    return head.encode() + data + f"\r\n--{boundary}--\r\n".encode()


def request_of(chunks: list[bytes | None]) -> Request:
    """A request whose body comes in these pieces; None: the browser goes away."""
    left = list(chunks)

    async def next_piece() -> dict[str, Any]:
        piece = left.pop(0) if left else b""
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    headers = [(b"content-type", b"multipart/form-data; boundary=b0undary")]
    return Request({"type": "http", "method": "POST", "headers": headers}, next_piece)


@given(st.binary(min_size=1, max_size=300), st.integers(1, 40))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_however_it_is_cut_the_bytes_are_the_same(tmp_path: Path, data: bytes, size: int) -> None:
    storage = LocalStorage(tmp_path)
    body = multipart(data)
    pieces: list[bytes | None] = [body[i : i + size] for i in range(0, len(body), size)]
    received = in_a_loop(receive(request_of(pieces), storage, max_bytes=1000))
    assert storage.path(received.key).read_bytes() == data
    assert received.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("cut", [10, 90, 150])
def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path, cut: int) -> None:
    body = multipart(GOOD)
    for tail in ([None], []):
        with pytest.raises((DomainError, ClientDisconnect)):
            in_a_loop(receive(request_of([body[:cut], *tail]), LocalStorage(tmp_path), max_bytes=10**6))
    assert list(tmp_path.rglob("*.part")) == []


def test_memory_stays_flat(tmp_path: Path) -> None:
    piece = bytes(1 << 16)
    head, tail = multipart(b"")[:-16], multipart(b"")[-16:]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = 2000
    pieces: list[bytes | None] = [head, *[piece] * count, tail]
    received = in_a_loop(receive(request_of(pieces), LocalStorage(tmp_path), max_bytes=10**9))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert received.size == count * len(piece)
    assert grown < 32_000  # kB, for 131 MB


@pytest.mark.parametrize(
    "bad, code",
    [
        (b'{"messages": [{"role": "user"', "invalid_json"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "unknown_role"),
        ({"messages": [{"role": "user", "content": "x"}]}, "no_assistant"),
        (b"\xff\xfe\xfd", "not_utf8"),
    ],
)
def test_a_bad_line_seven_is_shown_and_the_rest_can_be_used(
    client: TestClient, ctx: Context, bad: object, code: str
) -> None:
    send(client, GOOD + lines(bad, row(8)))
    assert Runner(ctx, "w", "light").run_waiting() == 1
    page = client.get("/datasets/1").text
    assert "Line 7" in page
    assert code in page
    assert "Go on with the 7 good rows" in page
    assert client.post("/datasets/1/accept").status_code == 303
    assert "Fine-tune on this" in client.get("/datasets/1").text
    with ctx.db.session() as session:
        assert session.exec(select(DatasetProblem)).one().line == 7


def test_a_file_without_a_row_says_so(client: TestClient, ctx: Context) -> None:
    send(client, b"\n \n\n")
    Runner(ctx, "w", "light").run_waiting()
    page = client.get("/datasets/1").text
    assert "no rows" in page
    assert "Upload another file" in page
    assert "Fine-tune on this" not in page


def test_hostile_text_is_only_text(client: TestClient, ctx: Context) -> None:
    evil = "<script>alert(1)</script>"
    calls = [{"function": {"name": evil, "arguments": {"x": evil}}}, 7, {"function": None}]
    turns = [{"role": "user", "content": evil}, {"role": "assistant", "content": evil, "tool_calls": calls}]
    send(client, lines({"messages": turns}), f"{evil}.jsonl")
    Runner(ctx, "w", "light").run_waiting()
    for path in ("/datasets", "/datasets/1", "/jobs/new", "/"):
        page = client.get(path)
        assert page.status_code == 200
        assert evil not in page.text
    assert json.dumps(evil) not in page.text


def test_renaming_and_deleting(client: TestClient, ctx: Context) -> None:
    send(client, GOOD)
    assert client.post("/datasets/1/rename", data={"name": "Better"}).status_code == 303
    assert "Better" in client.get("/datasets").text
    assert client.post("/datasets/1/rename", data={"name": " "}).status_code == 422
    assert client.post("/datasets/1/delete").headers["location"] == "/datasets"
    assert client.get("/datasets/1").status_code == 404
