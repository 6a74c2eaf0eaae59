"""Rows, answers, names, logs and errors are other people's text: a page holds them as text, never as markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import httpx
import pytest

from app.domain.jobs import service as jobs
from app.domain.jobs.models import Answer
from app.domain.jobs.states import JobState
from app.domain.workers.models import Worker
from tests.hostile.site import Site
from tests.hostile.surface import look_around
from tests.hostile.values import MARK, TEMPLATES, XSS
from tests.web import seeding

_ALL = " ".join((*XSS, *TEMPLATES))


class _Live(HTMLParser):
    """Markup that would run, if a browser took the page as it is."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._in_script = tag == "script"
        runs = [name for name in given if re.fullmatch("on.+|style", name)]
        leads = [value for name, value in given.items() if name in {"href", "src", "action"} and ":" in value[:12]]
        if runs or leads or (tag == "script" and given.get("type") != "application/json" and not given.get("src")):
            self.found.append(f"{tag} {given}")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script and "</" in data:
            self.found.append(data)


@pytest.fixture(scope="session")  # as the site: tests that run side by side come back to a module
def poisoned(site: Site) -> Site:
    """Hostile text in everything that a page shows."""
    row = {"messages": [{"role": "user", "content": _ALL}, {"role": "assistant", "content": _ALL, "reasoning": _ALL}]}
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": _ALL, "arguments": {_ALL: _ALL}}}]}
    tools = {"messages": [{"role": "user", "content": "x"}, call]}
    with site.browser() as web:
        file = {"file": (f"{XSS[0]}.jsonl", seeding.lines(row, tools, {"messages": _ALL}))}
        assert web.post("/datasets", files=file, data={"name": _ALL[:150]}).status_code == 303
    with site.ctx.db.session(write=True) as session:
        dataset = seeding.dataset(session, site.ctx, "poison", problems=1)
        site.ctx.storage.path("datasets/poison.jsonl").write_bytes(seeding.lines(row, row))
        done = seeding.training(session, site.ctx, dataset, _ALL[:150], worker_label=XSS[0])
        seeding.run(session, done)
        done.worker = XSS[0]
        for kind, payload in (("log", {"level": "error", "message": _ALL}), ("phase", {"phase": _ALL, "detail": _ALL})):
            seeding.event(session, done.id or 0, kind, payload)
        session.add_all(
            Answer(job_id=done.id or 0, prompt=0, side=side, text=_ALL, reasoning=_ALL) for side in ("before", "after")
        )
        jobs.move(session, done.id or 0, [JobState.RUNNING], JobState.SUCCEEDED)
        failed = seeding.training(session, site.ctx, dataset, XSS[1])
        error = dict.fromkeys(("class", "message", "advice", "traceback"), _ALL)
        seeding.end(session, failed, JobState.FAILED, error=error)
        facts = {
            "gpus": [{"name": XSS[0], "total": 1, "used": 0}],
            "labels": [XSS[1]],
            "engines": [XSS[2]],
        }
        session.add(Worker(name=XSS[0], queue="gpu", host=_ALL, pid=1, facts=facts))
    with site.browser() as web:
        assert web.post(f"/datasets/{dataset}/accept").status_code == 303
        assert web.post(f"/datasets/{dataset}/exclude", data={"number": "1"}).status_code == 303
        assert web.post(f"/datasets/{dataset}/exclude", data={"what": "copies"}).status_code == 303
    return site


def test_no_page_holds_it_as_markup(poisoned: Site, web: httpx.Client) -> None:
    shown = 0
    for path in look_around(web, []).pages:
        answer = web.get(path)
        if not answer.headers.get("content-type", "").startswith("text/html"):
            continue
        assert answer.status_code in {200, 303, 404}, path  # /patterns shows a dead link
        assert not _Live(answer.text).found, path
        assert "54439" not in answer.text, f"{path} ran a template"
        shown += MARK in answer.text
    assert shown >= 6


def test_fragments_and_streams_neither(poisoned: Site, web: httpx.Client) -> None:
    with poisoned.ctx.db.session() as session:
        newest = max(job.id or 0 for job in jobs.list_jobs(session, limit=200) if _ALL[:150] == job.name)
    for target in ("job-answers", "job-progress", "job-exports", "job-log"):
        headers = {"hx-request": "true", "hx-request-type": "partial", "hx-target": f"div#{target}"}
        answer = web.get(f"/jobs/{newest}", headers=headers)
        assert answer.status_code == 200
        assert not _Live(answer.text).found
    with web.stream("GET", f"/jobs/{newest}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        text = stream.read().decode()
    assert not re.search(r"^(?!event:|data:|id:|retry:|:|$)", text, re.MULTILINE)  # no line is anybody else's


def test_json_is_told_as_json(poisoned: Site, web: httpx.Client) -> None:
    answer = web.get("/api/jobs?limit=200")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert any(XSS[1] == job["name"] for job in answer.json()["jobs"])


@pytest.mark.parametrize("said", [*XSS, *TEMPLATES])
def test_a_refusal_says_it_as_text(web: httpx.Client, said: str) -> None:
    answers = [
        web.get("/" + said.replace("?", "").replace("#", "")),
        web.post("/jobs", data={"base_model": said, "learning_rate": said, "dataset_id": said, "name": said}),
        web.post("/settings/notifications/email", data={"recipients": said, "host": said, "sender": said}),
        web.post("/settings/notifications/webhook", data={"url": said, "ends": "failed"}),
        web.post("/settings/prices", data={"gpu_hour": said, "currency": said}),
        web.post("/datasets/1/audit", data={"base_model": said}),
        web.get("/datasets/1/rows", params={"q": said}),
        web.post("/datasets/1/exclude", data={"what": "matching", "q": said}),
        web.post("/datasets/1/rows/1/edit", data={"role": ["user", said], "content": [said, said], "calls": said}),
        web.post(f"/workers/gpu/{said.replace('/', '')}/drain".replace("?", "").replace("#", "")),
        web.post("/datasets/2/delete", headers={"referer": f"http://127.0.0.1/{said}"}),
    ]
    for answer in answers:
        assert answer.status_code < 500
        assert not _Live(answer.text).found
        assert "54439" not in answer.text


def test_every_answer_forbids_what_is_not_ours(web: httpx.Client) -> None:
    for path in ("/", "/nothing", "/api/jobs", "/static/app.css", "/healthz", "/metrics"):
        headers = web.get(path).headers
        policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert {policy[name] for name in ("script-src", "style-src", "connect-src", "form-action")} == {"'self'"}
        assert {policy[name] for name in ("object-src", "base-uri", "frame-ancestors")} == {"'none'"}
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        assert "strict-transport-security" not in headers  # this is plain HTTP
        assert "server" not in headers
    assert web.get("/").headers["cache-control"] == "no-store"
