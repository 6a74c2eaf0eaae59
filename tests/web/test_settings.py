"""Choices on the Settings page."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.models import allowances
from app.domain.preferences import service as preferences
from app.domain.preferences.models import Preference
from app.domain.preferences.service import ForeignCode, Prices
from tests.web.seeding import World


def test_a_price_is_kept_with_a_comma_too(client: TestClient, ctx: Context) -> None:
    """What an hour costs, as half of the world writes it."""
    assert client.post("/settings/prices", data={"gpu_hour": "2,5", "currency": "eur"}).status_code == 303
    assert _prices(ctx) == Prices(gpu_hour=2.5, currency="EUR")
    page = client.get("/settings").text
    assert 'value="2.50"' in page
    assert 'value="EUR"' in page


def test_a_price_that_is_none_is_told_beside_its_field(client: TestClient, ctx: Context) -> None:
    """What was typed stays."""
    answer = client.post("/settings/prices", data={"gpu_hour": "cheap", "currency": "€"})
    assert answer.status_code == 422
    assert "A price is a number" in answer.text
    assert "three letters" in answer.text
    assert 'value="cheap"' in answer.text
    assert _prices(ctx) == Prices()


def test_what_no_longer_fits_counts_as_never_chosen(ctx: Context) -> None:
    """An older version's choices must not break a page."""
    with ctx.db.session(write=True) as session:
        session.add(Preference(name=Prices.NAME, value={"gpu_hour": -1}))
    assert _prices(ctx) == Prices()


def _prices(ctx: Context) -> Prices:
    with ctx.db.session() as session:
        return preferences.read(session, Prices)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_code_is_allowed_for_one_model_at_one_commit(client: TestClient, ctx: Context, world: World) -> None:
    assert "None. No model" in client.get("/settings").text
    answer = client.post("/settings/foreign-code", data={"model": "ada/own", "commit": COMMIT.upper()})
    assert answer.status_code == 303
    page = client.get("/settings").text
    assert COMMIT in page
    assert "ada/own" in page
    with ctx.db.session() as session:
        assert allowances.code_at(session, "ada/own", COMMIT) == COMMIT
        for model, revision in (("ada/own", ""), ("ada/own", "main"), ("ada/other", COMMIT), ("ada/own", "f" * 40)):
            assert allowances.code_at(session, model, revision) == ""
    gone = {"model": "ada/own", "commit": COMMIT}
    assert client.post("/settings/foreign-code/delete", data=gone).status_code == 303
    with ctx.db.session() as session:
        assert allowances.allowances(session) == ()


@pytest.mark.parametrize(
    ("model", "commit", "wrong"),
    [
        ("ada/own", "main", "whole hash"),
        ("ada/own", COMMIT[:12], "whole hash"),
        ("ada/own", "", "whole hash"),
        ("../x", COMMIT, "owner/name"),
        ("/root/model", COMMIT, "owner/name"),
        ("", COMMIT, "owner/name"),
    ],
)
def test_code_is_not_allowed_for_less(client: TestClient, ctx: Context, model: str, commit: str, wrong: str) -> None:
    answer = client.post("/settings/foreign-code", data={"model": model, "commit": commit})
    assert answer.status_code == 422
    assert wrong in answer.text
    assert "field-error" in answer.text
    with ctx.db.session() as session:
        assert allowances.allowances(session) == ()


def test_a_job_for_such_a_model_names_the_commit(client: TestClient, ctx: Context, world: World) -> None:
    ctx.settings.hub.offline = False
    client.post("/settings/foreign-code", data={"model": "ada/own", "commit": COMMIT})
    wish = {"dataset_id": world.dataset, "name": "x", "config": {"base_model": "ada/own", "revision": "main"}}
    answer = client.post("/api/jobs", json=wish)
    assert answer.status_code == 422
    assert COMMIT in answer.json()["error"]["fields"]["revision"]
    wish["config"] = {"base_model": "ada/own", "revision": COMMIT}
    assert client.post("/api/jobs", json=wish).status_code == 201


def test_what_was_stored_otherwise_allows_nothing(ctx: Context) -> None:
    """A row that somebody made by hand, with a branch in it, counts for nothing."""
    with ctx.db.session(write=True) as session:
        session.add(Preference(name=ForeignCode.NAME, value={"allowed": [{"model": "ada/own", "commit": "main"}]}))
    with ctx.db.session() as session:
        assert allowances.code_at(session, "ada/own", "main") == ""
