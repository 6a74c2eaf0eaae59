"""Choices on the Settings page."""

from __future__ import annotations

from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.preferences import service as preferences
from app.domain.preferences.models import Preference
from app.domain.preferences.service import Prices


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
