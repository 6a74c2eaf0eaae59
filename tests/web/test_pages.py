"""Every page: it renders, it is reachable, it is clean, and it costs a constant number of queries."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import event
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.jobs import holding
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Checkpoint, Job
from app.domain.jobs.states import JobKind, JobState
from app.domain.workers import service as workers
from app.web.render import environment
from tests.people.conftest import House
from tests.web import seeding
from tests.web.links import Links

PAGES = (
    "/",
    "/compare",
    "/datasets",
    "/datasets/new",
    "/jobs",
    "/jobs/new",
    "/models",
    "/workers",
    "/settings",
    "/storage",
    "/settings/notifications",
    "/settings/people",
    "/settings/log",
    "/patterns",
)


def every_page(world: seeding.World) -> list[str]:
    made = [
        f"/datasets/{world.dataset}",
        f"/datasets/{world.dataset}/rows",
        f"/datasets/{world.dataset}/rows/1",
        f"/datasets/{world.dataset}/rows/1/edit",
        f"/datasets/{world.dataset}/changes",
        f"/datasets/{world.problems}",
        f"/models/{world.done}",
    ]
    shown = [f"/jobs/{i}" for i in (world.running, world.done, world.failed, world.queued)]
    shown += [f"/compare?jobs={world.running},{world.done},{world.failed},{world.queued},999", f"/sweeps/{world.sweep}"]
    return [*PAGES, *made, *shown, f"/jobs/new?like={world.failed}", "/jobs?show=failed", "/nope"]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_has_its_empty_state(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert "<h1>" in answer.text


def test_an_empty_home_offers_three_steps_and_the_demo(client: TestClient) -> None:
    page = client.get("/").text
    assert 'action="/demo"' in page
    assert page.count("<li><h3>") == 3


def test_the_demo_starts_with_one_click(client: TestClient, ctx: Context) -> None:
    answer = client.post("/demo")
    assert answer.status_code == 303
    assert "starts by itself" in client.get(answer.headers["location"]).text
    with ctx.db.session() as session:
        assert jobs.list_jobs(session, kinds=(JobKind.INTAKE,))[0].config["then_train"]["config"]["questions"]


def test_every_page_is_full_and_clean(client: TestClient, world: seeding.World) -> None:
    for path in every_page(world):
        answer = client.get(path)
        assert answer.status_code == (404 if path == "/nope" else 200), path
        links = Links(answer.text)
        assert links.inline == [], path
        if path != "/patterns":
            assert len(links.ids) == len(set(links.ids)), path


def test_every_route_is_reachable_from_a_page(house: House, ctx: Context) -> None:
    client, world = house.browser("ada"), house.world
    house.browser("ada")  # signed in elsewhere too
    for path, form in (
        ("/settings/people/{vi}/close", {}),
        ("/settings/people", {"name": "new", "role": "viewer"}),
        ("/account/tokens", {"name": "t", "scope": "read", "days": "30"}),
        (f"/datasets/{world.dataset}/exclude", {"number": "1"}),
        ("/datasets/uploads", {"filename": "big.jsonl", "size": "10", "modified": "0"}),
    ):
        assert client.post(path.format(**house.ids), data=form).status_code < 400
    seen: set[tuple[str, str]] = {item for item in Links(house.browser().get("/sign-in").text).found}
    waiting = {"/", "/account", f"/compare?jobs={world.done},{world.failed}"}  # where ticked boxes lead
    with ctx.db.session(write=True) as session:
        failed = jobs.list_jobs(session, kinds=(JobKind.INTAKE,), limit=1)[0]
        session.execute(sa.update(Job).where(sa.column("id") == failed.id).values(state=JobState.FAILED))
        holding.hold(session, ctx.bells, "light")
        for name in ("works", "is drained"):
            workers.hello(session, name=name, queue="gpu", host="h", pid=1, facts={})
        workers.drain(session, ctx.bells, "is drained", "gpu")
        seeding.training(session, ctx, world.dataset, "behind the other that waits")
        paused = seeding.training(session, ctx, world.dataset, "paused")
        session.execute(sa.update(Job).where(sa.column("id") == paused.id).values(state=JobState.PAUSED))
        origin = {"kind": "hub", "repo_id": "ada/talks", "config": "", "split": "", "revision": "", "with_token": True}
        parts = {"choices": [{"config": "default", "split": "train", "files": 1, "size": 9}] * 2, "commit": "a"}
        for state, stats in ((DatasetState.NEEDS_PART, parts), (DatasetState.FAILED, {})):
            came = Dataset(name="talks", filename="talks", size=0, sha256="", source_key="datasets/x", origin=origin)
            came.state, came.stats = state, stats
            session.add(came)
        session.add(Checkpoint(job_id=world.done, step=8, attempt=1, storage_key=f"runs/{world.done}/a1/c", size=1))
    for kept in (ctx.storage.path(f"runs/{world.done}/merged/w"), ctx.settings.model_cache / "org--model" / "w"):
        kept.parent.mkdir(parents=True)
        kept.write_bytes(b"weights")
    client.post("/settings/hub-token", data={"hub_token": "hf_abcdefghijklmnop"})
    client.post("/settings/foreign-code", data={"model": "ada/own", "commit": "a" * 40})
    with ctx.db.session(write=True) as session:
        seeding.notifications(session, ctx)
    while waiting:
        path = waiting.pop()
        answer = client.get(path) if "/events" not in path and path != "/changed" else None
        seen.add(("GET", path))
        if answer is None or "text/html" not in answer.headers.get("content-type", ""):
            continue
        if path == "/patterns":
            continue  # its data is invented
        found = Links(answer.text).found
        seen |= {item for item in found if item[0] == "POST"}
        waiting |= {address for method, address in found if method == "GET" and ("GET", address) not in seen}
        assert answer.status_code == 200, path
    pages = [(name, pattern) for name, pattern in routes(client) if " /api/" not in name]
    unreached = [name for name, pattern in pages if not any(fits(pattern, name, item) for item in seen)]
    assert ("GET", "/api/openapi.json") in seen  # there the others are told
    # Supervisors and Prometheus call these; to the others one is sent, by a redirect or a link that is handed on.
    programs, sent = ["GET /healthz", "GET /metrics", "GET /readyz"], ["GET /sign-in", "GET /welcome", "POST /welcome"]
    uploads = "/datasets/uploads"  # by the script on the form
    scripts = [f"POST {uploads}", f"PATCH {uploads}/{{upload_id}}", f"POST {uploads}/{{upload_id}}/finish"]
    switched = ["POST /datasets/hub", "POST /datasets/url"]  # off here; tests/web/test_sources.py sees the forms
    assert sorted(unreached) == sorted(programs + sent + scripts + switched)


def routes(client: TestClient) -> list[tuple[str, re.Pattern[str]]]:
    app = client.app
    assert isinstance(app, FastAPI)
    found = []
    for route in _flat(app.routes):
        path = route.path.replace("{queue}", r"[a-z]+").replace("{channel}", r"[a-z]+").replace("{folder}", r"[^/]+")
        path = path.replace("{name}", r"[^/]+")
        pattern = re.compile(re.sub(r"\{\w+\}", r"\\d+", path) + "$")
        found += [(f"{method} {route.path}", pattern) for method in route.methods or () if method != "HEAD"]
    return found


def _flat(found: Sequence[object]) -> Iterator[APIRoute]:
    for route in found:
        if isinstance(route, APIRoute):
            yield route
        else:
            router = getattr(route, "original_router", None)
            prefix = getattr(getattr(route, "include_context", None), "prefix", "")
            assert prefix == ""
            yield from _flat(list(router.routes)) if router is not None else ()


def fits(pattern: re.Pattern[str], name: str, item: tuple[str, str]) -> bool:
    return name.startswith(item[0] + " ") and pattern.match(item[1]) is not None


def test_every_template_compiles() -> None:
    names = environment().list_templates(extensions=["html"])
    assert len(names) > 20
    for name in names:
        environment().get_template(name)


@contextmanager
def counted(ctx: Context, client: TestClient) -> Iterator[list[str]]:
    """Statements that requests send."""
    engine = client.app.state.ctx.db.engine  # type: ignore[attr-defined] # FastAPI's own
    sent: list[str] = []

    def note(_c: object, _k: object, statement: str, *_rest: object) -> None:
        if threading.current_thread().name not in {"sweeper", "remover"}:
            sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("path", ["/", "/jobs", "/datasets", "/models", "/workers", "/storage"])
def test_lists_cost_the_same_however_long_they_are(
    client: TestClient, ctx: Context, world: seeding.World, path: str
) -> None:
    with counted(ctx, client) as few:
        client.get(path)
    with ctx.db.session(write=True) as session:
        for number in range(12):
            dataset = seeding.dataset(session, ctx, f"more{number}")
            done, running = (seeding.training(session, ctx, dataset, f"n{number}{i}") for i in range(2))
            seeding.run(session, running)
            seeding.run(session, done)
            seeding.finish(session, ctx, done)
            seeding.training(session, ctx, dataset, "queued")
            workers.hello(session, name=f"w{number}", queue="gpu", host="h", pid=1, facts={"cores": 2})
    with counted(ctx, client) as many:
        assert client.get(path).status_code == 200
    assert len(many) <= len(few) + 1
    assert len(many) < 15


def test_htmx_gets_only_the_part_it_asked_for(client: TestClient, world: seeding.World) -> None:
    def part(path: str, target: str) -> str:
        return client.get(path, headers={"hx-request-type": "partial", "hx-target": target}).text

    assert "<html" not in part("/jobs", "div#job-list")
    assert "running" in part("/jobs", "div#job-list")
    assert "Step 8 of 10" in part(f"/jobs/{world.running}", "div#job-progress")
    assert "dear child" in part(f"/jobs/{world.done}", "div#job-answers")
    assert "tuned.q8_0.gguf" in part(f"/models/{world.done}", "div#job-exports")
    assert "<h1>" in part(f"/jobs/{world.done}", "div#job-head")
    assert "<html" in client.get("/jobs", headers={"hx-request-type": "full", "hx-target": "div#job-list"}).text


def test_a_refused_fragment_leaves_the_page_alone(client: TestClient) -> None:
    answer = client.get("/jobs/99", headers={"hx-request-type": "partial", "hx-target": "div#job-head"})
    assert answer.headers["hx-retarget"] == "#toasts"
    assert "<html" not in answer.text


@pytest.mark.parametrize("number", ["0", "-1", "x", "9" * 12, "9" * 40])
def test_a_number_that_is_none_of_ours_is_not_found(client: TestClient, number: str) -> None:
    for path in ("/jobs/{}", "/jobs/{}/events", "/jobs/{}/metrics.json", "/datasets/{}", "/models/{}"):
        assert client.get(path.format(number)).status_code == 404
    assert client.get(f"/artifacts/{number}/download").status_code == 404
    assert client.post(f"/jobs/{number}/cancel").status_code == 404
    assert client.get(f"/jobs?start={number}").status_code in {200, 422}
    assert client.get(f"/jobs/new?dataset={number}").status_code in {200, 422}
    assert client.post("/jobs", data={"dataset_id": number}).status_code == 422


def test_a_message_is_shown_once(client: TestClient) -> None:
    client.post("/settings/hub-token", data={"hub_token": "hf_abcdefghijklmnop"})
    assert "The token was saved" in client.get("/settings").text
    assert "The token was saved" not in client.get("/settings").text


@pytest.mark.parametrize("cookie", ["", "x", "e30=", "W10=", "eyJraW5kIjogInh4IiwgInRleHQiOiAxfQ=="])
def test_a_broken_message_harms_nothing(client: TestClient, cookie: str) -> None:
    client.cookies.set("tunedeck_flash", cookie)
    assert client.get("/").status_code == 200


def test_the_token_is_never_shown(client: TestClient) -> None:
    client.post("/settings/hub-token", data={"hub_token": "hf_abcdefghijklmnop"})
    page = client.get("/settings").text
    assert "hf_abc" not in page
    assert "…mnop" in page
    assert client.post("/settings/hub-token", data={"hub_token": " "}).status_code == 422
    client.post("/settings/hub-token/delete")
    assert "Delete the token" not in client.get("/settings").text


def test_ready_says_what_is_missing(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"database": "ok", "schema": "ok", "broker": "unreachable"})


#: What htmx may ask for of a page, whatever state it is in by then: a job's page fetches its parts as it ends.
PARTS = {
    "/jobs/": ("job-head", "job-body", "job-progress", "job-answers", "job-exports", "exports"),
    "/datasets/": ("dataset-head", "dataset-body"),
    "/models/": ("model-body", "exports"),
    "/compare?": ("compare-body",),
    "/sweeps/": ("sweep-body",),
}


def test_every_part_of_a_page_comes_by_itself_in_every_state(client: TestClient, world: seeding.World) -> None:
    for path in every_page(world):
        wanted = set(re.findall(r'hx-get="([^"]+)"[^>]*?hx-target="this"', client.get(path).text))
        ids = {name for start, names in PARTS.items() if path.startswith(start) for name in names}
        for target in ids:
            answer = client.get(path, headers={"hx-request-type": "partial", "hx-target": f"div#{target}"})
            assert answer.status_code == 200, (path, target, answer.text[:500])
        for address in wanted:
            assert client.get(address.replace("&amp;", "&")).status_code == 200, (path, address)
