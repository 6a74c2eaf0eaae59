"""The look: a small stylesheet with no rule that nobody uses, and pages that say the same thing everywhere."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from app.core.context import Context
from app.core.settings import resource_dir
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Job
from app.domain.jobs.states import JobKind, JobState
from app.domain.workers import service as workers
from app.web import filters
from app.web.views.job_form import JobForm
from app.web.views.numbers import score_items
from tests.web import seeding

#: Written by uPlot.
FOREIGN = re.compile(r"u-[a-z-]+|uplot")


def stylesheet() -> str:
    return (resource_dir("static") / "app.css").read_text(encoding="utf-8")


def test_the_stylesheet_stays_below_25_kilobytes() -> None:
    assert len(stylesheet().encode()) <= 25_000


def test_every_class_of_the_stylesheet_is_used() -> None:
    """Names that a template puts together (`swatch s1`, a badge's look, a level of the log) count by their parts."""
    selectors = re.sub(r"/\*.*?\*/|\{[^{}]*\}", " ", stylesheet(), flags=re.DOTALL)
    names = {name for name in re.findall(r"\.([a-z][\w-]*)", selectors) if not FOREIGN.fullmatch(name)}
    places = [resource_dir("templates").rglob("*.html"), resource_dir("static").glob("*.js")]
    text = "\n".join(path.read_text(encoding="utf-8") for paths in places for path in paths)
    spoken = {"debug", "warning", "error", "better", "worse", "halt", "s1", "s2", "tool", "system"}
    assert [name for name in sorted(names - spoken) if not re.search(rf"(?<![\w-]){name}(?![\w-])", text)] == []


@pytest.mark.parametrize(
    "value, said",
    [(1.23456, "1.2346"), (99_999.0, "99999.0000"), (4.101e9, "4.101e9"), (float("inf"), "–"), (float("nan"), "–")],
)
def test_a_loss_stays_short_however_huge_it_is(value: float, said: str) -> None:
    assert filters.loss(value) == said


def test_a_score_that_did_not_change_is_neither_better_nor_worse() -> None:
    (same,) = score_items({"perplexity": {"before": 2e43, "after": 2e43}})
    assert (same["value"], same.get("verdict"), same.get("note")) == ("2e43", None, None)


def test_errors_are_listed_in_the_order_of_the_form() -> None:
    form = JobForm(errors={"questions": "c", "lora_r": "b", "name": "a", "dataset_id": "z"})
    assert [name for name, _sentence in form.summary()] == ["dataset_id", "name", "lora_r", "question-1"]


def test_a_check_that_broke_off_is_not_shown_as_running(client: TestClient, ctx: Context, world: seeding.World) -> None:
    with ctx.db.session(write=True) as session:
        intake = jobs.list_jobs(session, kinds=(JobKind.INTAKE,), subject_id=world.dataset)[0]
        session.execute(sa.text("UPDATE dataset SET state = 'checking' WHERE id = :id").bindparams(id=world.dataset))
        session.execute(sa.update(Job).where(sa.column("id") == intake.id).values(state=JobState.FAILED))
    assert f'id="set-{world.dataset}"' not in client.get("/").text
    page = client.get(f"/datasets/{world.dataset}").text
    assert "The check broke off" in page
    with ctx.db.session(write=True) as session:
        session.execute(sa.update(Job).where(sa.column("id") == intake.id).values(state=JobState.QUEUED))
    home = client.get("/").text
    assert "Waiting for a worker" in home[home.index(f'id="set-{world.dataset}"') :]


def test_the_memory_and_the_versions_a_worker_tells_are_shown(client: TestClient, ctx: Context) -> None:
    card = {"index": 0, "name": "RTX 4090", "total": 25_400_000_000, "used": 0, "load": 0.0}
    facts = {"gpus": [card], "engines": ["hf", "unsloth"], "versions": {"transformers": "5.17.0"}}
    with ctx.db.session(write=True) as session:
        workers.hello(session, name="w", queue="gpu", host="h", pid=1, facts=facts)
    page = client.get("/workers").text
    assert "RTX 4090, 25.4 GB" in page
    assert "transformers 5.17.0" in page


def test_a_refusal_leads_back_to_the_page_it_came_from(client: TestClient, world: seeding.World) -> None:
    place = f"/datasets/{world.dataset}"
    answer = client.post(f"{place}/delete", headers={"referer": f"http://localhost{place}?row=10#rows"})
    assert f'href="{place}?row=10"' in answer.text
    for elsewhere in ("http://evil.example/x", "http://localhost//evil.example", "javascript:alert(1)", ""):
        assert "Go back" not in client.post(f"{place}/delete", headers={"referer": elsewhere}).text


def test_a_job_that_ended_early_does_not_promise_answers(client: TestClient, world: seeding.World) -> None:
    page = client.get(f"/jobs/{world.failed}").text
    assert "Not asked: the job ended first." in page
    assert "Asked again when training ends." not in page
