"""How a file is read can be looked at, tried and chosen; its problems can be filtered and taken away."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.datasets import service as datasets
from app.domain.datasets.models import Dataset, DatasetState
from tests.web.seeding import dataset as seeded
from tests.web.seeding import lines, row, training
from worker.runner import Runner

FRAGE = b"Frage,Antwort,Gedanken\n" + b"".join(b"Was ist %d?,Das ist %d.,Hm.\n" % (n, n) for n in range(5))
IDENTITY = json.dumps([{"instruction": "Who are you?", "output": "I am {{name}} by {{author}}."}] * 3).encode()


def send(client: TestClient, ctx: Context, data: bytes, name: str) -> Dataset:
    client.post("/datasets", files={"file": (name, data)})
    return read(ctx)


def read(ctx: Context) -> Dataset:
    assert Runner(ctx, "w", "light").run_waiting() == 1
    with ctx.db.session() as session:
        return datasets.get_dataset(session, 1)


def form(**parts: str) -> dict[str, Any]:
    """As the page would send it."""
    return {"format": "columns", "was": "columns", "part": list(parts), "column": list(parts.values())}


GERMAN = form(question="Frage", answer="Antwort", reasoning="Gedanken")


def test_columns_of_any_name_are_chosen_with_a_preview(client: TestClient, ctx: Context) -> None:
    refused = send(client, ctx, FRAGE, "fragen.csv")
    assert (refused.state, refused.row_count) == (DatasetState.FAILED, 0)
    page = client.get("/datasets/1").text
    assert "`Frage`, `Antwort`, `Gedanken`" in page
    assert 'href="/datasets/1/mapping"' in page
    assert "Frage" in client.get("/datasets/1/mapping").text
    shown = client.post("/datasets/1/mapping/preview", data=GERMAN).text
    assert shown.count("Was ist ") == 3
    assert "Das ist 2." in shown
    live = {"hx-request": "true", "hx-request-type": "partial", "hx-target": "div#mapping-body"}
    part = client.post("/datasets/1/mapping/preview", data=GERMAN, headers=live).text
    assert "Das ist 2." in part
    assert "<html" not in part
    assert client.post("/datasets/1/mapping", data=GERMAN).status_code == 303
    dataset = read(ctx)
    assert (dataset.state, dataset.row_count, dataset.format) == (DatasetState.READY, 5, "columns")
    assert dataset.mapping == {"question": "Frage", "answer": "Antwort", "reasoning": "Gedanken"}
    assert datasets.preview_rows(ctx.storage, dataset)[4]["messages"][1]["reasoning"] == "Hm."


def test_another_format_brings_its_own_parts(client: TestClient, ctx: Context) -> None:
    send(client, ctx, FRAGE, "fragen.csv")
    shown = client.post("/datasets/1/mapping/preview", data=GERMAN | {"format": "text"}).text
    assert "Text" in shown
    assert "which column holds the text" in shown
    assert "&#34;Frage&#34;: &#34;Was ist 0?&#34;" in shown
    taken = form(text="Antwort") | {"format": "text", "was": "text"}
    assert client.post("/datasets/1/mapping", data=taken).status_code == 303
    assert (read(ctx).format, read_rows(ctx)[0]) == ("text", {"text": "Das ist 0."})


def read_rows(ctx: Context) -> list[dict[str, Any]]:
    with ctx.db.session() as session:
        return datasets.preview_rows(ctx.storage, datasets.get_dataset(session, 1))


def test_placeholders_are_found_and_filled_in(client: TestClient, ctx: Context) -> None:
    dataset = send(client, ctx, IDENTITY, "identity.json")
    assert dataset.stats["placeholders"] == {"{{name}}": 3, "{{author}}": 3}
    assert (
        "{{author}}, {{name}}" in client.get("/datasets/1").text
        or "{{name}}, {{author}}" in client.get("/datasets/1").text
    )
    page = client.get("/datasets/1/mapping").text
    assert 'value="{{name}}"' in page
    assert "I am {{name}} by {{author}}." in page
    filled = form(instruction="instruction", output="output") | {"format": "alpaca", "was": "alpaca"}
    filled |= {"find": ["{{name}}", "{{author}}", ""], "put": ["Ada", "us", "x"]}
    assert "I am Ada by us." in client.post("/datasets/1/mapping/preview", data=filled).text
    client.post("/datasets/1/mapping", data=filled)
    dataset = read(ctx)
    assert read_rows(ctx)[2]["messages"][1]["content"] == "I am Ada by us."
    assert dataset.stats["placeholders"] == {}
    assert dataset.stats["replace"] == [["{{name}}", "Ada"], ["{{author}}", "us"]]
    assert 'value="Ada"' in client.get("/datasets/1/mapping").text


@pytest.mark.parametrize(
    "change, words",
    [
        ({"format": "nonsense"}, "one of the formats"),
        ({"column": ["", "Antwort", ""]}, "which column holds the question"),
        ({"find": ["x"] * 21, "put": ["y"] * 21}, "At most 20"),
    ],
)
def test_a_choice_that_makes_no_sense_is_told(
    client: TestClient, ctx: Context, change: dict[str, Any], words: str
) -> None:
    send(client, ctx, FRAGE, "fragen.csv")
    change |= {"was": change["format"]} if "format" in change else {}
    answer = client.post("/datasets/1/mapping", data=GERMAN | change)
    assert answer.status_code == 422
    assert words in answer.text


def test_a_mapping_that_no_row_fits_can_be_mended(client: TestClient, ctx: Context) -> None:
    send(client, ctx, FRAGE, "fragen.csv")
    client.post("/datasets/1/mapping", data=form(question="Frage", answer="nothing"))
    assert read(ctx).state == DatasetState.FAILED
    client.post("/datasets/1/mapping", data=GERMAN)
    assert read(ctx).state == DatasetState.READY


def test_what_a_job_reads_is_not_changed(client: TestClient, ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        training(session, ctx, seeded(session, ctx), "tune")
    answer = client.post(
        "/datasets/1/mapping", data=form(messages="messages") | {"format": "messages", "was": "messages"}
    )
    assert answer.headers["location"] == "/datasets/2"
    with ctx.db.session() as session:
        old, new = (datasets.get_dataset(session, number) for number in (1, 2))
        assert (old.state, old.rows_key != "") == (DatasetState.READY, True)
        assert (new.state, new.version, new.parent_id) == (DatasetState.CHECKING, 2, 1)
        assert new.source_key == old.source_key
        assert datasets.shares_source(session, new)


def test_problems_are_filtered_and_taken_away(client: TestClient, ctx: Context) -> None:
    bare = {"messages": [{"role": "user", "content": "=1+1"}]}
    send(client, ctx, lines(row(1), b"=cmd()", b"{", bare), "rows.jsonl")
    page = client.get("/datasets/1").text
    assert "/datasets/1?code=invalid_json" in page
    only = client.get("/datasets/1?code=no_assistant").text
    assert "Line 4" in only
    assert "Line 2" not in only
    answer = client.get("/datasets/1/problems.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    table = list(csv.reader(io.StringIO(answer.text)))
    assert table[0] == ["line", "offset", "code", "problem", "excerpt"]
    assert [(each[0], each[2]) for each in table[1:]] == [
        ("2", "invalid_json"),
        ("3", "invalid_json"),
        ("4", "no_assistant"),
    ]
    assert table[1][4] == "'=cmd()"
