"""What one person may use at a time, and what is said to who wants more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from app.core.context import Context
from app.core.settings import LimitSettings, Settings, WebSettings
from app.domain.users import tokens
from app.domain.users.access import Scope
from app.main import create_app
from app.serve import refusal
from app.web.limits import Limits
from tests.people.conftest import House


@pytest.fixture
def narrow(house: House) -> Iterator[House]:
    """Ten requests a minute, one live page, one job."""
    limits = LimitSettings(requests_per_minute=10, streams=1, live_jobs=1)
    settings = house.ctx.settings.model_copy(update={"limits": limits})
    made = House(house.ctx, create_app(settings), house.ids, house.world)
    with TestClient(made.app, "http://localhost"):
        yield made
    made.close()


def test_too_many_requests_of_one_person_are_told_when_to_come_back(narrow: House) -> None:
    mia = narrow.browser("mia")
    answers = [mia.get("/changed", headers={"accept": "application/json"}) for _ in range(14)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429] * 4
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 61
    assert answers[-1].json()["error"]["status"] == 429
    with narrow.ctx.db.session(write=True) as session:
        _row, token = tokens.make(session, narrow.ids["mia"], "t", Scope.READ, 30)
    assert narrow.browser(token=token).get("/api/jobs").status_code == 429  # a token is no second purse
    assert narrow.browser("max").get("/").status_code == 200


def test_one_person_has_so_many_jobs(narrow: House) -> None:
    mia = narrow.browser("mia")
    answer = mia.post(f"/api/jobs/{narrow.world.failed}/retry")
    assert answer.status_code == 429
    assert "1 of your jobs wait or run already" in answer.json()["error"]["message"]
    assert answer.headers["retry-after"]


def test_live_pages_are_counted_as_long_as_they_last() -> None:
    limits = Limits(LimitSettings(streams=1))
    with limits.stream("person 1"):
        with pytest.raises(Exception, match="Too many live pages"):
            limits.check_stream("person 1")
        limits.check_stream("person 2")
    limits.check_stream("person 1")


def test_the_one_person_of_a_loopback_installation_is_not_counted(ctx: Context) -> None:
    settings = ctx.settings.model_copy(update={"limits": LimitSettings(requests_per_minute=1)})
    with TestClient(create_app(settings), "http://localhost") as browser:
        assert {browser.get("/workers").status_code for _ in range(5)} == {200}


# ---- Where it listens ----


def test_without_accounts_it_listens_on_loopback_alone(settings: Settings) -> None:
    def said(host: str, *, accounts: bool) -> str:
        return refusal(settings.model_copy(update={"web": WebSettings(host=host, accounts=accounts)}))

    assert "TUNEDECK_WEB__ACCOUNTS" in said("0.0.0.0", accounts=False)
    assert "refused" in said("192.168.1.5", accounts=False)
    assert said("127.0.0.1", accounts=False) == said("0.0.0.0", accounts=True) == said("::1", accounts=False) == ""


@pytest.mark.parametrize("host", ["192.168.1.5:8642", "[fd00::1]:8642", "deck.lan"])
def test_on_a_network_it_answers_to_addresses_and_to_its_name_but_to_no_other(ctx: Context, host: str) -> None:
    web = WebSettings(host="0.0.0.0", accounts=True, public_url="https://deck.lan/")
    with TestClient(create_app(ctx.settings.model_copy(update={"web": web})), "http://localhost") as browser:
        assert browser.get("/healthz", headers={"host": host}).status_code == 200
        assert browser.get("/healthz", headers={"host": "evil.example"}).status_code == 421
    with TestClient(create_app(ctx.settings), "http://localhost") as browser:
        assert browser.get("/healthz", headers={"host": host}).status_code == 421
