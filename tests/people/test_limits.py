"""What one person may use at a time, and what is said to who wants more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.core.context import Context
from app.core.settings import LimitSettings, Settings, WebSettings
from app.domain.errors import TooManyError
from app.domain.users import tokens
from app.domain.users.access import Scope
from app.main import create_app
from app.serve import refusal
from app.web.limits import Limits
from app.welcome import accounts_refusal
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
    answers = [mia.get("/api/queues") for _ in range(14)]
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


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_an_upload_too_many_is_told_when_to_come_back(narrow: House, accept: str) -> None:
    file = {"file": ("rows.jsonl", b'{"messages": [{"role": "user", "content": "a"}]}\n')}
    answer = narrow.browser("mia").post("/datasets", files=file, headers={"accept": accept})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")


def test_who_guesses_at_the_old_password_is_told_when_to_come_back(house: House) -> None:
    mia, new = house.browser("mia"), {"old_password": "not this one", "password": "x", "again": "x"}
    answers = [mia.post("/account/password", data=new) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [422] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_live_pages_are_counted_as_long_as_they_last() -> None:
    limits = Limits(LimitSettings(streams=1))
    limits.take_stream("person 1")
    with pytest.raises(TooManyError, match="Too many live pages"):
        limits.take_stream("person 1")
    limits.take_stream("person 2")
    limits.give_stream("person 1")
    limits.take_stream("person 1")


def test_a_burst_of_live_pages_is_no_way_around(house: House) -> None:
    settings = house.ctx.settings.model_copy(
        update={"limits": LimitSettings(streams=2), "web": WebSettings(accounts=True, stream_seconds=2)}
    )
    made = House(house.ctx, create_app(settings), house.ids, house.world)
    with TestClient(made.app, "http://localhost"), ThreadPoolExecutor(12) as pool:
        mia = made.browser("mia")
        codes = Counter(pool.map(lambda _n: mia.get("/changed").status_code, range(12)))
        assert codes[200] <= 4  # two, and two more once those have ended
        assert codes[429] >= 8
        assert made.app.state.limits._streams == {}
    made.close()


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


@pytest.mark.parametrize(
    "more",
    [{"trusted_proxies": ["127.0.0.1"]}, {"public_url": "https://deck.example"}, {"allowed_hosts": ["deck.example"]}],
)
def test_without_accounts_nothing_stands_behind_a_proxy_unless_it_is_meant(
    settings: Settings, more: dict[str, Any]
) -> None:
    def said(**web: Any) -> str:
        return refusal(settings.model_copy(update={"web": WebSettings(**web)}))

    assert "TUNEDECK_WEB__OPEN_TO_ALL" in said(**more)
    assert said(**more, open_to_all=True) == said(**more, accounts=True) == said(allowed_hosts=["localhost"]) == ""


def test_accounts_are_not_switched_off_in_passing(house: House) -> None:
    off = house.ctx.settings.model_copy(update={"web": WebSettings()})
    assert "holds accounts" in accounts_refusal(off)
    assert accounts_refusal(house.ctx.settings) == ""
    open_ = house.ctx.settings.model_copy(update={"web": WebSettings(open_to_all=True)})
    assert accounts_refusal(open_) == ""
    with TestClient(create_app(open_), "http://localhost", follow_redirects=False) as browser:
        answer = browser.post(f"/settings/people/{house.ids['max']}/role", data={"role": "administrator"})
        assert answer.status_code == 409


def test_those_who_ask_whether_it_lives_are_not_counted(narrow: House) -> None:
    browser = narrow.browser()
    codes = Counter(browser.get("/sign-in").status_code for _ in range(14))
    assert codes == {200: 10, 429: 4}
    assert browser.get("/healthz").status_code == 200
