"""JSON that is no JSON, or that only Python reads: a sentence, never an error of ours."""

from __future__ import annotations

import json
from contextlib import suppress

import httpx
import pytest

from app.web.api.schemas import ErrorOut
from tests.hostile.site import Site
from tests.web.seeding import lines, row

_JOB = '{"dataset_id": 1, "name": %s, "config": {"base_model": "HuggingFaceTB/SmolLM2-135M-Instruct"%s}}'
BOMBS = {
    "deep lists": b"[" * 200_000,
    "deep lists, closed": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "half deep": (_JOB % ('"x"', ', "questions": ' + "[" * 900 + "]" * 900)).encode(),
    "huge number": b'{"dataset_id": ' + b"9" * 100_000 + b"}",
    "large number": (_JOB % ('"x"', ', "seed": ' + "9" * 30)).encode(),
    "huge exponent": (_JOB % ('"x"', ', "learning_rate": 1e999999999')).encode(),
    "NaN": (_JOB % ('"x"', ', "min_gpu_memory_gb": NaN')).encode(),
    "Infinity": (_JOB % ('"x"', ', "min_gpu_memory_gb": Infinity')).encode(),
    "twice": b'{"name": "a", "name": "b", "dataset_id": 1, "config": {"base_model": "a/b"}}',
    "half a pair": (_JOB % (r'"\ud800"', "")).encode(),
    "half a pair as a name": b'{"\\udfff": 1}',
    "NUL": (_JOB % (r'"a\u0000b"', "")).encode(),
    "NUL inside": (_JOB % ('"x"', r', "worker_label": "\u0000"')).encode(),
    "no UTF-8": b'{"name": "\xff\xfe"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "nothing": b"",
    "a text": b'"x"',
    "null": b"null",
    "polluted": b'{"__proto__": {"x": 1}, "constructor": {}, "__class__": "x"}',
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=list(BOMBS))
@pytest.mark.parametrize("path", ["/api/jobs", "/api/jobs/{}/further"])
def test_a_call_refuses_it_in_words(any_site: Site, bomb: bytes, path: str) -> None:
    address = any_site.url + path.format(any_site.world.done)
    answer = httpx.post(address, content=bomb, headers={"content-type": "application/json"}, timeout=30)
    assert answer.status_code == 422, answer.text
    assert ErrorOut.model_validate(answer.json()).error.message


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-7"])
def test_json_comes_as_json(web: httpx.Client, kind: str) -> None:
    """A form of another site can send only other kinds."""
    answer = web.post("/api/jobs/1/move", content=b'{"where": "earlier"}', headers={"content-type": kind})
    assert answer.status_code in {409, 422}
    assert answer.status_code == 422 or kind.startswith("application/json")


def test_a_body_is_bounded_however_it_is_sent(web: httpx.Client) -> None:
    headers = {"content-type": "application/json"}
    assert web.post("/api/jobs", content=b" " * 1_100_000, headers=headers).status_code == 413
    endless = (b" " * 65_536 for _ in range(1_000))
    with suppress(httpx.TransportError):  # refused in the middle of the body
        assert web.post("/api/jobs", content=endless, headers=headers).status_code == 413


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=list(BOMBS))
def test_an_upload_of_it_is_stored_as_it_is(site: Site, web: httpx.Client, bomb: bytes) -> None:
    """The web process looks at 50 lines; what becomes of the others is told by the intake."""
    made = web.post("/datasets", files={"file": ("x.jsonl", lines(row(1)) + bomb + b"\n")})
    if made.status_code == 303:
        assert web.get(made.headers["location"]).status_code == 200
    else:
        assert made.status_code == 422
    assert site.process.poll() is None


def test_a_stream_takes_no_odd_number(site: Site, web: httpx.Client) -> None:
    for last in ("-1", "9" * 400, "1e9", "²", "1; DROP TABLE job"):
        headers = {b"last-event-id": last.encode()}
        with web.stream("GET", f"/jobs/{site.world.done}/events", headers=headers) as answer:
            assert answer.status_code == 200
    assert json.loads(web.get("/healthz").text) == {"status": "ok"}
