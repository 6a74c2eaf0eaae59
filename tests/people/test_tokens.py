"""Tokens for scripts."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from app.core.db import utcnow
from app.domain.users import tokens
from app.domain.users.access import Scope
from app.domain.users.models import ApiToken
from tests.people.conftest import House


def made(house: House, who: str = "mia", scope: str = "write", days: str = "30") -> str:
    answer = house.browser(who).post("/account/tokens", data={"name": "nightly", "scope": scope, "days": days})
    assert answer.status_code == 200, answer.text
    return "td_" + answer.text.split("<code", 1)[1].split("td_", 1)[1].split("<")[0].strip()


def test_it_is_shown_once_and_kept_as_a_digest(house: House) -> None:
    text = made(house)
    page = house.browser("mia").get("/account").text
    assert text not in page
    assert text[:13] in page  # its beginning, by which it is told from others
    with house.ctx.db.session() as session:
        row = tokens.of_user(session, house.ids["mia"])[0]
        assert text not in row.model_dump_json()
        assert len(row.digest) == 64
    assert text.encode() not in (house.ctx.settings.root / "tunedeck.db").read_bytes()


def test_it_opens_the_calls_and_says_when_it_was_used(house: House) -> None:
    script = house.browser(token=made(house))
    assert {job["owner_id"] for job in script.get("/api/jobs").json()["jobs"]} == {house.ids["mia"]}
    assert script.post(f"/api/jobs/{house.world.queued}/cancel").json()["state"] == "cancelled"
    with house.ctx.db.session() as session:
        assert tokens.of_user(session, house.ids["mia"])[0].last_used is not None


@pytest.mark.parametrize("change", ["expire", "revoke"])
def test_it_ends(house: House, change: str) -> None:
    script = house.browser(token=made(house))
    assert script.get("/api/jobs").status_code == 200
    if change == "expire":
        with house.ctx.db.session(write=True) as session:
            session.execute(sa.update(ApiToken).values(expires_at=utcnow() - timedelta(seconds=1)))
    else:
        house.browser("mia").post("/account/tokens/1/revoke")
    assert script.get("/api/jobs").status_code == 401


def test_its_beginning_alone_opens_nothing(house: House) -> None:
    text = made(house)
    prefix, secret = text[:14], text[14:]
    for guess in (prefix, prefix + "A" * 43, prefix + secret[:-1], text + "A", text.upper(), f"td_0000000000_{secret}"):
        assert house.browser(token=guess).get("/api/jobs").status_code == 401, guess


def test_nobody_gives_more_than_they_have(house: House) -> None:
    mia = house.browser("mia")
    for form in (
        {"name": "t", "scope": "admin", "days": "30"},
        {"name": "t", "scope": "king", "days": "30"},
        {"name": "", "scope": "read", "days": "30"},
        {"name": "t", "scope": "read", "days": "31"},
        {"name": "t", "scope": "read", "days": "-1"},
        {"name": "t", "scope": "read", "days": "²"},
    ):
        assert mia.post("/account/tokens", data=form).status_code == 422, form
    assert mia.post("/account/tokens", data={"name": "t", "scope": "read", "days": "0"}).status_code == 200
    assert house.browser("ada").post(f"/account/tokens/{1}/revoke").status_code == 404


def test_a_token_of_somebody_whose_role_shrank_shrinks_with_it(house: House) -> None:
    text = made(house, "ada", Scope.ADMIN)
    script, ada = house.browser(token=text), house.browser("ada")
    assert script.post("/api/queues/gpu/hold").status_code == 200
    ada.post(f"/settings/people/{house.ids['mia']}/role", data={"role": "administrator"})
    ada.post(f"/settings/people/{house.ids['ada']}/role", data={"role": "viewer"})
    assert script.post("/api/queues/gpu/go").status_code == 403
    assert script.get("/api/jobs").json()["jobs"] == []
