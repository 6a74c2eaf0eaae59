"""Versions: rows are edited or left out, jobs keep theirs, an earlier one is taken up again, and all is told."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.datasets import service as datasets
from app.domain.datasets import versions
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Job
from app.domain.jobs.sweeper import Sweeper
from tests.web import seeding
from worker.runner import Runner


@pytest.fixture
def first(ctx: Context) -> int:
    with ctx.db.session(write=True) as session:
        return seeding.dataset(session, ctx)


def get(ctx: Context, number: int) -> Dataset:
    with ctx.db.session() as session:
        return datasets.get_dataset(session, number)


def rows(ctx: Context, number: int) -> list[dict[str, Any]]:
    return datasets.preview_rows(ctx.storage, get(ctx, number), 0, 100)


def fields(page: str) -> dict[str, list[str]]:
    """What a browser would send of the form of a row."""
    found: dict[str, list[str]] = {}
    pattern = re.compile(
        r'<textarea[^>]*name="(\w+)"[^>]*>\n?(.*?)</textarea>|<select[^>]*name="(\w+)".*?</select>'
        r'|<input type="hidden" name="(\w+)" value="([^"]*)">',
        re.DOTALL,
    )
    for match in pattern.finditer(page):
        if match[1]:
            found.setdefault(match[1], []).append(unescape(match[2]).replace("\n", "\r\n"))
        elif match[3]:
            chosen = re.search(r'value="([^"]*)" +selected', match[0]) or re.search(r'value="([^"]*)"', match[0])
            found.setdefault(match[3], []).append(chosen[1] if chosen else "")
        else:
            found.setdefault(match[4], []).append(unescape(match[5]))
    return found


def exclude(client: TestClient, dataset: int, **form: Any) -> str:
    answer = client.post(f"/datasets/{dataset}/exclude", data=form)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def test_an_edited_row_makes_a_version_and_the_old_one_stays(client: TestClient, ctx: Context, first: int) -> None:
    before = rows(ctx, first)
    typed = fields(client.get(f"/datasets/{first}/rows/3/edit").text)
    assert typed["content"] == ["Question 2?", "Answer 2.", ""]
    typed["content"][1] = "Better.\r\nMuch better."
    answer = client.post(f"/datasets/{first}/rows/3/edit", data=typed)
    assert answer.headers["location"] == "/datasets/2/rows/3"
    page = client.get(answer.headers["location"]).text
    assert "This is version 2 now: 1 row edited." in page
    assert rows(ctx, first) == before
    changed = rows(ctx, 2)
    assert changed[2]["messages"][1] == {
        "role": "assistant",
        "content": "Better.\nMuch better.",
        "reasoning": "Because.",
    }
    assert changed[:2] + changed[3:] == before[:2] + before[3:]
    made = get(ctx, 2)
    assert (made.version, made.parent_id, made.family_id, made.row_count) == (2, first, first, 20)
    assert made.stats["characters"] > 0
    page = client.get("/datasets/2/changes").text
    assert '<mark class="gone">' in page
    assert "Much better" in page
    page = client.get("/datasets/2").text
    assert "Version 1" in page
    assert "1 row edited" in page
    assert "there is a newer one" in client.get(f"/datasets/{first}").text


def test_nothing_that_was_typed_is_lost(client: TestClient, ctx: Context, first: int) -> None:
    address = f"/datasets/{first}/rows/1/edit"
    typed = fields(client.get(address).text)
    answer = client.post(address, data=typed)
    assert answer.status_code == 422
    assert "Nothing was changed." in answer.text
    typed["content"] = ["My own question", "", "And one more"]
    answer = client.post(address, data=typed)
    assert answer.status_code == 422
    assert "My own question" in answer.text
    assert "And one more" in answer.text
    assert 'href="#f-content-2"' in answer.text
    assert "The content of turn 2 (assistant) is empty" in answer.text
    assert 'href="#f-role-3"' in answer.text
    with pytest.raises(Exception, match="no data set 2"):
        get(ctx, 2)


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"drop": ["1"]}, "content-1", "No turn has the role `user`"),
        ({"calls": ["", "{", ""]}, "calls-2", "This is no JSON"),
        ({"calls": ["", '[{"name": ""}]', ""]}, "calls-2", "has no name"),
        ({"weight": ["", "7", ""]}, "weight-2", "is not 0 or 1"),
        ({"weight": ["", "0", ""]}, "content-1", "Every answer has the weight 0"),
        ({"role": ["user", "robot", ""]}, "role-2", "The role of turn 2 is `robot`"),
        ({"tools": ["[1]"]}, "tools", ""),
    ],
)
def test_each_problem_stands_beside_its_field(
    client: TestClient, first: int, changes: dict[str, Any], place: str, words: str
) -> None:
    address = f"/datasets/{first}/rows/1/edit"
    answer = client.post(address, data=fields(client.get(address).text) | changes)
    assert answer.status_code == 422
    page = unescape(answer.text)
    assert f'href="#f-{place}"' in page
    assert f'id="f-{place}-error"' in page
    assert words in page


def test_rows_are_left_out_by_number_by_text_and_as_copies(client: TestClient, ctx: Context, first: int) -> None:
    assert exclude(client, first, number=["1", "20"]) == "/datasets/2/rows"
    assert [row["messages"][0]["content"] for row in rows(ctx, 2)][::17] == ["Question 1?", "Question 18?"]
    exclude(client, 2, what="matching", q="question 1")
    assert [row["messages"][0]["content"] for row in rows(ctx, 3)] == [f"Question {k}?" for k in range(2, 10)]
    assert "10 rows that hold “question 1” left out" in client.get("/datasets/3").text
    assert "Question 10?" in client.get("/datasets/3/changes").text
    for form, words in (
        ({"what": "copies"}, "exact copy"),
        ({"what": "matching", "q": " "}, "Search for a text"),
        ({"what": "matching", "q": "nowhere"}, "No row holds this text"),
        ({"number": "x"}, "Choose the rows first"),
        ({"number": [str(k) for k in range(1, 9)]}, "No row would be left"),
    ):
        answer = client.post("/datasets/3/exclude", data=form)
        assert answer.status_code == 422
        assert words in answer.text
    assert client.post("/datasets/3/exclude", data={"number": "9"}).status_code == 404
    assert len(list(ctx.storage.path("datasets").glob("rows-*"))) == 2


def test_an_earlier_version_is_taken_up_again(client: TestClient, ctx: Context, first: int) -> None:
    exclude(client, first, number="1")
    answer = client.post(f"/datasets/{first}/restore")
    assert answer.headers["location"] == "/datasets/3"
    made = get(ctx, 3)
    assert (made.version, made.parent_id, made.row_count) == (3, first, 20)
    assert rows(ctx, 3) == rows(ctx, first)
    assert "taken up again" in client.get("/datasets/3").text


def test_jobs_keep_the_version_they_were_made_with_and_the_newest_is_offered_first(
    client: TestClient, ctx: Context, first: int
) -> None:
    with ctx.db.session(write=True) as session:
        job = seeding.training(session, ctx, first).id or 0
        seeding.dataset(session, ctx, "other")
    exclude(client, first, number="1")
    with ctx.db.session() as session:
        assert session.get_one(Job, job).subject_id == first
    assert re.findall(r'<option value="(\d)" +selected', client.get("/jobs/new").text)[0] == "3"
    order = re.findall(r'<option value="(\d+)"[^>]*>(rows[^<]*|other[^<]*)<', client.get("/jobs/new?dataset=3").text)
    assert [number for number, _ in order][:3] == ["3", "2", "1"]
    assert "rows · version 2" in order[0][1]
    listed = client.get("/datasets").text
    assert 'href="/datasets/3"' in listed
    assert f'id="dataset-{first}"' not in listed
    assert "version 2" in listed


def test_one_version_or_all_of_them_are_deleted(client: TestClient, ctx: Context, first: int) -> None:
    exclude(client, first, number="1")
    exclude(client, 2, number="1")
    with ctx.db.session(write=True) as session:
        seeding.training(session, ctx, 2)
    assert "is using this data set" in client.post("/datasets/2/delete").text
    assert client.post("/datasets/1/delete", data={"what": "all"}).status_code == 409
    assert get(ctx, 3).version == 3
    assert client.post("/datasets/1/delete").headers["location"] == "/datasets/3"
    Sweeper(ctx).clean()
    assert "was deleted" in client.get("/datasets/2/changes").text
    with ctx.db.session(write=True) as session:
        for job in jobs.list_jobs(session):
            jobs.cancel(session, ctx.bells, job.id or 0)
    assert client.post("/datasets/3/delete", data={"what": "all"}).headers["location"] == "/datasets"
    Sweeper(ctx).clean()
    assert list(ctx.storage.path("datasets").glob("*")) == []


def test_many_versions_are_folded(client: TestClient, ctx: Context, first: int) -> None:
    for number in range(1, 8):
        exclude(client, number, number="1")
    page = client.get("/datasets/8").text
    assert "3 earlier versions" in page
    assert page.index("Version 4") < page.index("3 earlier versions") < page.index("Version 3")
    assert 'class="fold panel-body" open' in client.get("/datasets/2").text.replace("  ", " ")


def test_names_and_sharing_are_those_of_all_versions(client: TestClient, ctx: Context, first: int) -> None:
    exclude(client, first, number="1")
    client.post("/datasets/2/rename", data={"name": "fresh"})
    client.post("/datasets/1/share", data={"shared": "yes"})
    assert [(get(ctx, k).name, get(ctx, k).shared) for k in (1, 2)] == [("fresh", True)] * 2


def test_a_large_version_is_a_job(
    client: TestClient, ctx: Context, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "AT_ONCE", 10)
    assert exclude(client, first, what="matching", q="question 1") == "/datasets/2"
    assert "are being written" in client.get("/datasets/2").text
    assert "is being made" in client.post(f"/datasets/{first}/delete").text
    assert client.post("/datasets/2/exclude", data={"number": "1"}).status_code in {404, 409}
    assert Runner(ctx, "w", "light").run_waiting() == 1
    made = get(ctx, 2)
    assert (made.state, made.row_count, made.source_key) == (DatasetState.READY, 9, "")
    assert (made.changes["excluded"], len(made.changes["gone"])) == (11, 11)
    assert made.stats["turns"] == 18
    assert made.size == ctx.storage.path(made.rows_key).stat().st_size
    typed = fields(client.get("/datasets/2/rows/1/edit").text)
    typed["content"][0] = "By a job"
    client.post("/datasets/2/rows/1/edit", data=typed)
    assert Runner(ctx, "w", "light").run_waiting() == 1
    assert rows(ctx, 3)[0]["messages"][0]["content"] == "By a job"
    assert exclude(client, 3, what="copies") == "/datasets/4"
    Runner(ctx, "w", "light").run_waiting()
    assert get(ctx, 4).state == DatasetState.FAILED
    assert "exact copy" in client.get("/datasets/4").text


def test_rows_that_are_gone_from_the_disk_are_said_to_be(client: TestClient, ctx: Context, first: int) -> None:
    ctx.storage.path(get(ctx, first).rows_key).unlink()
    for path in ("", "/rows", "/rows?q=x", "/changes"):
        assert client.get(f"/datasets/{first}{path}").status_code == 200
    for path in ("/rows/1", "/rows/1/edit", "/rows.jsonl", "/original"):
        assert client.get(f"/datasets/{first}{path}").status_code == 404
    assert client.post(f"/datasets/{first}/exclude", data={"number": "1"}).status_code == 409
    assert client.get(f"/jobs/new?dataset={first}").status_code == 200


def test_a_row_that_no_form_can_hold_says_so(client: TestClient, ctx: Context) -> None:
    huge = seeding.row(1) | {"messages": [{"role": "user", "content": "x" * 200_000}, *seeding.row(1)["messages"][1:]]}
    with ctx.db.session(write=True) as session:
        number = seeding.dataset(session, ctx)
        ctx.storage.path(datasets.get_dataset(session, number).rows_key).write_bytes(seeding.lines(huge))
    assert "too long for a form" in client.get(f"/datasets/{number}/rows/1/edit").text
    assert client.post(f"/datasets/{number}/rows/1/edit", data={}).status_code == 409


def test_a_script_changes_many_rows_at_once(client: TestClient, ctx: Context, first: int) -> None:
    said = {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "<think>Hm.</think>A"}]}
    wish = {"edit": [{"number": 2, "row": said}, {"number": 20, "row": said}], "leave_out": [1, 3, 3]}
    answer = client.post(f"/api/datasets/{first}/versions", json=wish)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["version"], made["parent_id"], made["row_count"], made["state"]) == (2, first, 18, "ready")
    assert answer.headers["location"] == "/api/datasets/2"
    found = rows(ctx, 2)
    assert found[0] == found[-1]
    assert found[0]["messages"][1] == {"role": "assistant", "content": "A", "reasoning": "Hm."}
    assert "2 rows edited, 2 left out" in client.get("/datasets/2").text
    assert client.post("/api/datasets/2/versions", json={"copies": True}).json()["row_count"] == 17
    assert client.post("/api/datasets/2/versions", json={"matching": "question 1"}).json()["row_count"] == 9
    assert client.post("/api/datasets/2/versions", json={"restore": True}).json()["row_count"] == 18


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({}, ""),
        ({"copies": True, "restore": True}, ""),
        ({"leave_out": [21]}, "leave_out"),
        ({"leave_out": [0]}, "leave_out"),
        ({"edit": [{"number": 2, "row": {"messages": []}}]}, "edit.2"),
        ({"edit": [{"number": 2, "row": {"text": " "}}]}, "edit.2"),
        ({"edit": [{"number": 2, "row": {"text": "A text."}}]}, "edit.2"),
        ({"matching": "nowhere"}, "rows"),
    ],
)
def test_what_a_script_may_not_ask_for(client: TestClient, first: int, wish: dict[str, Any], field: str) -> None:
    answer = client.post(f"/api/datasets/{first}/versions", json=wish)
    assert answer.status_code == 422
    assert field in {"", *answer.json()["error"]["fields"]}
