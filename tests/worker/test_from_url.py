"""Files from addresses, through a real runner, from a real server on loopback that the settings allow."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.core.context import Context, make_context
from app.core.settings import SourceSettings, WebSettings
from app.domain.datasets import origins
from app.domain.datasets import service as datasets
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.errors import InvalidError
from app.domain.jobs import service as jobs
from app.domain.jobs.states import JobKind
from worker.child import Child, JobError
from worker.intake import web
from worker.runner import Runner
from worker.trainer.protocol import Control, Emitter
from worker.trainer.specs import UrlFetch

pytestmark = pytest.mark.slow
ROW = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]}
DATA = b"".join(json.dumps(ROW | {"id": n}).encode() + b"\n" for n in range(50))


class Files(BaseHTTPRequestHandler):
    """Every way in which a server may answer."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        name = path.rsplit("/", 1)[-1]
        with suppress(ConnectionError):
            if name == "rows.jsonl":
                self._whole(DATA)
            elif name == "on":
                self._on(query)
            elif name == "round":
                self._on("/round")
            elif name == "cut":
                self._whole(DATA, told=len(DATA) + 1)
            elif name == "endless":
                self._endless()
            else:
                self.send_error(404, "No such <file>")

    def _whole(self, data: bytes, told: int = 0) -> None:
        self.send_response(200)
        self.send_header("content-length", str(told or len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _on(self, where: str) -> None:
        self.send_response(302)
        self.send_header("location", where)
        self.end_headers()

    def _endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(100_000):
            self.wfile.write(DATA)
            time.sleep(0.01)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def host(ctx: Context, most: int = 10**8, **rules: Any) -> Context:
    wanted = {"url_hosts": ["127.0.0.1"], "allowed_networks": ["127.0.0.0/8"]} | rules
    changes = {"sources": SourceSettings(**wanted), "web": WebSettings(max_upload_bytes=most)}
    return make_context(ctx.settings.model_copy(update=changes), worker=True)


def fetched(ctx: Context, url: str) -> Dataset:
    with ctx.db.session(write=True) as session:
        number = origins.from_url(session, ctx.bells, ctx.settings, url).id or 0
    assert Runner(ctx, "w", "light").run_waiting() == 1
    with ctx.db.session() as session:
        return datasets.get_dataset(session, number)


def test_a_file_comes_and_is_read(ctx: Context, server: str) -> None:
    dataset = fetched(host(ctx), f"{server}/on?/data/rows.jsonl?key=secret")
    assert dataset.error == ""
    assert (dataset.state, dataset.row_count, dataset.size) == (DatasetState.READY, 50, len(DATA))
    assert dataset.filename == "rows.jsonl"
    assert ctx.storage.path(dataset.source_key).read_bytes() == DATA


def test_a_fetch_that_ended_before_it_was_told_is_told_by_the_next(ctx: Context, server: str) -> None:
    here = host(ctx)
    with here.db.session(write=True) as session:
        made = origins.from_url(session, here.bells, here.settings, f"{server}/nothing")  # nothing needs to come twice
        number, place = made.id or 0, here.storage.make_parent(made.source_key)
    data = b"question,answer\nQ0?,A\nQ1?,B\n"
    place.write_bytes(data)
    beside = place.with_name(place.name + ".part")
    beside.mkdir()
    (beside / "told.json").write_text('{"filename": "rows.csv", "commit": "c"}')
    assert Runner(here, "w", "light").run_waiting() == 1
    with here.db.session() as session:
        dataset = datasets.get_dataset(session, number)
    assert (dataset.size, dataset.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (dataset.state, dataset.filename, dataset.origin["commit"]) == (DatasetState.READY, "rows.csv", "c")
    assert not beside.exists()


@pytest.mark.parametrize(
    "path, words",
    [
        ("/nothing", "answered 404"),
        ("/cut", "broke before the end"),
        ("/round", "leads on more than"),
        ("/on?http://localhost:1/x", "not fetched from localhost here"),
        ("/on?file:///etc/passwd", "begins with https:// or http://"),
        ("/on?http://user:secret@127.0.0.1/", "a name or a password"),
        ("/on?", "could not be read"),
    ],
)
def test_what_goes_wrong_is_said_in_words(ctx: Context, server: str, path: str, words: str) -> None:
    dataset = fetched(host(ctx), server + path)
    assert dataset.state == DatasetState.FAILED
    assert words in dataset.error or path == "/on?"


def test_it_is_bounded_in_size_and_time(ctx: Context, server: str) -> None:
    assert "more than the server accepts" in fetched(host(ctx, most=100_000), f"{server}/endless").error
    assert "seconds" in fetched(host(ctx, url_seconds=1.5), f"{server}/endless").error
    assert "more than the server accepts" in fetched(host(ctx, most=10), f"{server}/rows.jsonl").error


def test_an_answer_of_untold_length_asks_the_disk_on_its_way(
    ctx: Context, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = Child(tmp_path, Emitter(tmp_path, None), Control(tmp_path), {})
    room = [10**9] + [10**6] * 9
    monkeypatch.setattr(web, "_ASK_BYTES", 20_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=room.pop(0)))
    wish = UrlFetch(url=f"{server}/endless", hosts=("*",), networks=("127.0.0.0/8",), max_bytes=10**8, seconds=30.0)
    with pytest.raises(JobError, match="the disk has"):
        web.fetch_url(wish, child, tmp_path / "out")
    child.events.close()
    assert (tmp_path / "out").stat().st_size < 10**6


def test_networks_are_asked_when_it_is_called(ctx: Context, server: str) -> None:
    dataset = fetched(host(ctx, allowed_networks=[]), f"{server}/rows.jsonl")
    assert "not a public address" in dataset.error
    assert "TUNEDECK_SOURCES__ALLOWED_NETWORKS" in dataset.error


def test_it_is_off_unless_hosts_are_named(ctx: Context, server: str) -> None:
    for hosts in ([], ["example.org"], ["*.9.0.0.1"]):
        with host(ctx, url_hosts=hosts).db.session(write=True) as session, pytest.raises(InvalidError):
            origins.from_url(session, ctx.bells, host(ctx, url_hosts=hosts).settings, f"{server}/rows.jsonl")
    with ctx.db.session() as session:
        assert jobs.list_jobs(session, kinds=(JobKind.INTAKE,)) == []
