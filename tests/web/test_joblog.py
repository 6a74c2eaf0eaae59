"""The log of a job: searched, turned back, taken away."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.jobs.models import JobEvent
from tests.web import seeding


def fill(session: Session, job_id: int, count: int) -> None:
    """Lines of which every hundredth warns."""
    for number in range(count):
        level = "warning" if number % 100 == 0 else "info"
        payload = {"level": level, "message": f"Line {number} of a long <b>log</b>"}
        session.add(JobEvent(job_id=job_id, seq=1000 + number, attempt=1, kind="log", payload=payload))


def lines(client: TestClient, job_id: int, **query: Any) -> tuple[list[str], int]:
    found = client.get(f"/jobs/{job_id}/log.json", params=query).json()
    return [line["message"] for line in found["lines"]], found["before"]


def test_the_log_is_turned_back_page_by_page(client: TestClient, ctx: Context, world: seeding.World) -> None:
    with ctx.db.session(write=True) as session:
        fill(session, world.done, 1200)
    newest, before = lines(client, world.done)
    assert (len(newest), newest[-1], before) == (500, "Line 1199 of a long <b>log</b>", 1700)
    middle, before = lines(client, world.done, before=before)
    assert (middle[0], middle[-1]) == ("Line 200 of a long <b>log</b>", "Line 699 of a long <b>log</b>")
    oldest, before = lines(client, world.done, before=before)
    assert before == 0
    assert len([message for message in oldest if message.startswith("Line")]) == 200
    assert lines(client, world.done, before=1) == ([], 0)
    page = client.get(f"/jobs/{world.done}").text
    assert 'data-before="1700"' in page
    assert "&lt;b&gt;log" in page


def test_the_log_is_searched_by_words_and_by_level(client: TestClient, ctx: Context, world: seeding.World) -> None:
    with ctx.db.session(write=True) as session:
        fill(session, world.done, 300)
    assert lines(client, world.done, find="lINE 77 ") == (["Line 77 of a long <b>log</b>"], 0)
    warned, _before = lines(client, world.done, level="warnings")
    assert [message.split()[1] for message in warned] == ["0", "100", "200"]
    assert lines(client, world.done, level="errors", find="Line") == ([], 0)
    assert client.get(f"/jobs/{world.done}/log.json?level=loud").status_code == 422


def test_all_of_the_log_is_taken_away(client: TestClient, ctx: Context, world: seeding.World) -> None:
    with ctx.db.session(write=True) as session:
        fill(session, world.done, 2500)
    answer = client.get(f"/jobs/{world.done}/log.txt")
    told = [line for line in answer.text.splitlines() if "Line" in line]
    assert len(told) == 2500
    assert told[0].endswith("warning Line 0 of a long <b>log</b>")
    assert "attachment" in answer.headers["Content-Disposition"]
