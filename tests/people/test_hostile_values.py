"""Hostile values in every field about people: refused or redirected, never an error of ours, shown only escaped."""

from __future__ import annotations

import pytest

from app.domain.users import links
from tests.hostile.values import EVERY
from tests.people.conftest import PASSWORD, House

MARK = "<script>alert(1)</script>"


def test_every_field_about_people_takes_every_hostile_value(house: House) -> None:
    ada, mia = house.browser("ada"), house.browser("mia")
    vi = house.ids["vi"]
    forms = [
        (ada, "/settings/people", ("name", "role")),
        (ada, f"/settings/people/{vi}/role", ("role",)),
        (mia, "/account/tokens", ("name", "scope", "days")),
        (mia, "/account/password", ("old_password", "password", "again")),
        (house.browser(), "/welcome", ("key", "name", "password", "again")),
        (house.browser(), "/sign-in", ("name", "password", "next")),
        (mia, f"/datasets/{house.world.dataset}/share", ("shared",)),
    ]
    for browser, path, names in forms:
        for value in EVERY:
            answer = browser.post(path, data=dict.fromkeys(names, value))
            assert answer.status_code < 500, (path, value)
            assert "\n" not in answer.headers.get("location", "")


@pytest.mark.parametrize("name", [MARK, "'; drop table account; --", "a\r\nset-cookie: b", "{{7777*7}}", "\x1b[31mred"])
def test_names_are_shown_as_they_are_or_refused(house: House, name: str) -> None:
    ada = house.browser("ada")
    answer = ada.post("/settings/people", data={"name": name, "role": "viewer"})
    page = ada.get("/settings/people").text
    assert answer.status_code in {200, 422}
    assert MARK not in page
    assert "54439" not in page.split("<tbody>")[1]
    ada.post("/account/tokens", data={"name": name, "scope": "read", "days": "30"})
    for path in ("/account", "/settings/log"):
        assert MARK not in ada.get(path).text


def test_what_is_typed_at_the_door_is_not_kept(house: House) -> None:
    house.browser().post("/sign-in", data={"name": MARK, "password": "x"})
    page = house.browser("ada").get("/settings/log").text
    assert "script" not in page.split("<tbody>")[1]  # not even escaped: it may be a password


def test_a_first_link_is_worth_nothing_in_a_house_that_has_an_administrator(house: House) -> None:
    with house.ctx.db.session(write=True) as session:
        key = links.make(session, None)
    form = {"key": key, "name": "mallory", "password": PASSWORD, "again": PASSWORD}
    assert house.browser().post("/welcome", data=form).status_code == 404
