"""The page of one row: its conversation, and its tokens where they were asked for."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.datasets import audits
from app.domain.datasets import service as datasets
from app.domain.datasets.audit import RowsReport, TokenRow
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Job
from app.domain.jobs.states import JobKind, JobState
from app.domain.models.catalogue import BUNDLED
from app.web.views.token_rows import token_view
from tests.web import seeding

FOUND = RowsReport(
    rows=(
        TokenRow(number=1, tokens=("<u>", "Say", " red", "<a>", "red", "<end>"), learned=((4, 6),), full_length=6),
        TokenRow(number=2, problem="The text contains <end>. Remove it."),
    )
)


@pytest.fixture
def dataset(ctx: Context) -> int:
    with ctx.db.session(write=True) as session:
        return seeding.dataset(session, ctx)


def ask(client: TestClient, dataset: int, number: int = 1, **more: str) -> str:
    answer = client.post(f"/datasets/{dataset}/rows/{number}", data={"base_model": BUNDLED, **more})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def answered(ctx: Context, dataset: int) -> None:
    with ctx.db.session(write=True) as session:
        (job,) = jobs.list_jobs(session, kinds=(JobKind.AUDIT,), subject_id=dataset)
        seeding.end(session, job, result=FOUND.model_dump(mode="json"))


def test_a_row_is_shown_and_leads_to_its_neighbours(client: TestClient, dataset: int) -> None:
    assert f'href="/datasets/{dataset}/rows/7"' in client.get(f"/datasets/{dataset}").text
    page = client.get(f"/datasets/{dataset}/rows/7").text
    assert "Question 6?" in page
    assert f"/datasets/{dataset}/rows/6" in page
    assert f"/datasets/{dataset}/rows/8" in page
    assert client.get(f"/datasets/{dataset}/rows/21").status_code == 404
    assert client.get("/datasets/99/rows/1").status_code == 404


def test_ten_rows_are_looked_at_by_one_job(client: TestClient, ctx: Context, dataset: int) -> None:
    for number in (1, 2, 10):
        address = ask(client, dataset, number)
        assert "Waiting for a worker" in client.get(address).text
    ask(client, dataset, 11)
    with ctx.db.session() as session:
        found = jobs.list_jobs(session, kinds=(JobKind.AUDIT,), subject_id=dataset)
        assert sorted(job.config["rows_from"] for job in found) == [0, 10]
        assert audits.list_audits(session, datasets.get_dataset(session, dataset)) == []


def test_learned_tokens_are_marked_and_cut_ones_struck_out(client: TestClient, ctx: Context, dataset: int) -> None:
    address = ask(client, dataset)
    answered(ctx, dataset)
    page = client.get(address).text
    assert "6 tokens, 2 of them learned." in page
    assert "&lt;u&gt;Say red&lt;a&gt;<mark>red</mark><mark>&lt;end&gt;</mark>" in page
    page = client.get(ask(client, dataset, max_seq_length="5")).text
    assert "<mark>red</mark><s>&lt;end&gt;</s>" in page
    assert "6 tokens, 1 of them learned. 1 are cut at the end." in page
    assert "so the row is left out" in client.get(ask(client, dataset, max_seq_length="4")).text
    page = client.get(ask(client, dataset, 2)).text
    assert "will not be trained on" in page
    assert "The text contains &lt;end&gt;. Remove it." in page


def test_a_revision_of_the_model_is_a_question_of_its_own(client: TestClient, ctx: Context, dataset: int) -> None:
    assert "revision" not in ask(client, dataset)
    address = ask(client, dataset, revision="v1.0")
    assert "revision=v1.0" in address
    page = client.get(address).text
    assert "Waiting for a worker" in page
    assert "revision=v1.0" in page.partition('rel="next"')[0].rpartition("href=")[2]
    with ctx.db.session() as session:
        found = jobs.list_jobs(session, kinds=(JobKind.AUDIT,), subject_id=dataset)
        assert {job.config["revision"] for job in found} == {"", "v1.0"}
    wrong = {"base_model": BUNDLED, "revision": "../x"}
    assert client.post(f"/datasets/{dataset}/rows/1", data=wrong).status_code == 422


def test_what_cannot_be_shown_is_said(client: TestClient, ctx: Context, dataset: int) -> None:
    answer = client.post(f"/datasets/{dataset}/rows/1", data={"base_model": "/etc"})
    assert answer.status_code == 422
    assert "not looked at" in client.get(f"/datasets/{dataset}/rows/1?model={BUNDLED}").text
    assert client.get(f"/datasets/{dataset}/rows/1?model=/etc").status_code == 200
    failed = Job(kind="audit", queue="light", subject_id=1, name="x", state=JobState.FAILED, error={"message": "No."})
    assert token_view(failed, 1, 0).error == "No."
    old = Job(kind="audit", queue="light", subject_id=1, name="x", state=JobState.SUCCEEDED, result={"rows": 3})
    assert token_view(old, 1, 0).parts == []


def test_what_the_audit_names_is_one_click_away(client: TestClient, ctx: Context, dataset: int) -> None:
    with ctx.db.session(write=True) as session:
        seeding.audit(session, ctx, dataset)
    page = client.get(f"/datasets/{dataset}").text
    for number in (4, 5, 7):  # out of order, a secret, nearly a copy
        assert f'<dt><a href="/datasets/{dataset}/rows/{number}">Row {number}</a></dt>' in page
    assert page.count("Leave out exact copies?") == 1
