"""The list of rows: from any row on, and those that hold a text."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from app.core.context import Context
from tests.web import seeding


@pytest.fixture
def dataset(ctx: Context) -> int:
    with ctx.db.session(write=True) as session:
        return seeding.dataset(session, ctx, rows=60)


def test_rows_are_shown_a_page_at_a_time(client: TestClient, dataset: int) -> None:
    page = client.get(f"/datasets/{dataset}/rows").text
    assert "1–25 of 60" in page
    assert "Question 24?" in page
    assert "Question 25?" not in page
    assert "start=26" in page
    page = client.get(f"/datasets/{dataset}/rows?start=51").text
    assert "51–60 of 60" in page
    assert "Question 59?" in page
    assert 'rel="next"' not in page
    assert "start=26" in page
    assert "This data set has 60 rows." in client.get(f"/datasets/{dataset}/rows?start=61").text


def test_rows_that_hold_a_text_are_found_and_it_is_marked(client: TestClient, dataset: int) -> None:
    page = client.get(f"/datasets/{dataset}/rows?q=question+5").text
    assert page.count("<mark>Question 5</mark>") == 11
    assert f'href="/datasets/{dataset}/rows/60"' in page
    assert "no more rows hold it" in page
    page = client.get(f"/datasets/{dataset}/rows?q=BECAUSE").text
    assert page.count("<mark>Because</mark>") == 25
    assert "?q=BECAUSE&amp;start=26" in page
    page = client.get(f"/datasets/{dataset}/rows?q=<nothing>").text
    assert "No row holds “&lt;nothing&gt;”" in page


def test_what_is_no_page_is_refused(client: TestClient, dataset: int) -> None:
    for query in ("start=0", "start=x", "q=" + "a" * 201):
        assert client.get(f"/datasets/{dataset}/rows?{query}").status_code in {400, 404, 422}
    assert client.get("/datasets/99/rows").status_code == 404


def test_scripts_read_rows_too(client: TestClient, dataset: int) -> None:
    assert [each["row_count"] for each in client.get("/api/datasets").json()] == [60]
    assert client.get(f"/api/datasets/{dataset}").json()["state"] == "ready"
    page = client.get(f"/api/datasets/{dataset}/rows?limit=2&start=59").json()
    assert [each["number"] for each in page["rows"]] == [59, 60]
    assert page["next"] is None
    page = client.get(f"/api/datasets/{dataset}/rows?q=ANSWER+1&limit=3").json()
    assert [each["row"]["messages"][1]["content"] for each in page["rows"]] == ["Answer 1.", "Answer 10.", "Answer 11."]
    assert page["next"] == 13
    assert client.get("/api/datasets/99/rows").status_code == 404
