"""What the rows suggest for the form, and any length answered from one report."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.jobs import service as jobs
from app.domain.jobs.states import JobKind
from tests.web import seeding
from tests.web.test_new_job import PARTIAL, fields


@pytest.mark.parametrize(
    ("typed", "proposed"),
    [
        ({}, {"gradient_accumulation_steps": "1"}),
        ({"gradient_accumulation_steps": "1"}, {}),
        ({"max_seq_length": "512", "gradient_accumulation_steps": "1"}, {"max_seq_length": "64"}),
        ({"num_train_epochs": "9", "gradient_accumulation_steps": "1"}, {"num_train_epochs": "3"}),
        ({"num_train_epochs": "9", "max_steps": "60", "gradient_accumulation_steps": "1"}, {}),
    ],
)
def test_a_proposal_is_one_click_away(
    client: TestClient, ctx: Context, typed: dict[str, Any], proposed: dict[str, str]
) -> None:
    with ctx.db.session(write=True) as session:
        dataset = seeding.dataset(session, ctx)
        seeding.audit(session, ctx, dataset)
    panel = client.post("/jobs/new/panel", data=fields(dataset, **typed), headers=PARTIAL).text
    assert panel.count("data-fill=") == len(proposed)
    for name, value in proposed.items():
        assert f'value="{value}" data-fill="#f-{name}"' in panel


def test_every_length_is_answered_from_one_audit(client: TestClient, ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        dataset = seeding.dataset(session, ctx)
        seeding.audit(session, ctx, dataset)
    for length, said in (("60", "3 rows are longer than 60"), ("50", "5 rows are longer than 50"), ("70", "")):
        panel = client.post("/jobs/new/panel", data=fields(dataset, max_seq_length=length), headers=PARTIAL).text
        assert said in panel
    assert "are longer than" not in panel
    short = client.post("/jobs/new/panel", data=fields(dataset, max_seq_length="20"), headers=PARTIAL).text
    assert "20 rows have nothing to learn within 20 tokens" in short
    with ctx.db.session() as session:
        assert len(jobs.list_jobs(session, kinds=(JobKind.AUDIT,))) == 1


def test_another_data_set_can_be_held_out(client: TestClient, ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        dataset, held = seeding.dataset(session, ctx), seeding.dataset(session, ctx, "held", rows=5)
    assert f'<option value="{held}"' in client.get(f"/jobs/new?dataset={dataset}").text
    panel = client.post("/jobs/new/panel", data=fields(dataset, validation_dataset=held), headers=PARTIAL).text
    assert "20 train, 5 validate" in panel
    assert client.post("/jobs", data=fields(dataset, validation_dataset=dataset)).status_code == 422
    answer = client.post("/jobs", data=fields(dataset, validation_dataset=held))
    assert answer.status_code == 303
