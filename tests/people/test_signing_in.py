"""The way in: cookies, guesses, links that are good once, and where one is led afterwards."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import select

from app.core.db import utcnow
from app.domain.datasets import service as datasets
from app.domain.errors import ConflictError, InvalidError
from app.domain.jobs.models import Job
from app.domain.users import links, passwords, service, sessions, tokens
from app.domain.users.access import Role, Scope
from app.domain.users.models import FailedSignIn, SignedIn, User
from app.web.pages.sign_in import is_ours
from tests.people.conftest import PASSWORD, House

COOKIE, SECURE = "tunedeck_session", "__Host-tunedeck"


def test_who_is_not_signed_in_is_led_to_the_form_and_back(house: House) -> None:
    browser = house.browser()
    answer = browser.get("/jobs?show=failed")
    assert answer.headers["location"] == "/sign-in?next=%2Fjobs%3Fshow%3Dfailed"
    assert 'name="next" value="/jobs?show=failed"' in browser.get(answer.headers["location"]).text
    form = {"name": "MIA", "password": PASSWORD, "next": "/jobs?show=failed"}
    answer = browser.post("/sign-in", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs?show=failed")
    assert browser.get("/jobs?show=failed").status_code == 200
    assert browser.get("/sign-in").headers["location"] == "/"


def test_a_program_is_told_without_a_detour(house: House) -> None:
    browser = house.browser()
    for path, headers in (
        ("/api/jobs", {}),
        ("/jobs", {"accept": "application/json"}),
        ("/changed", {"accept": "text/event-stream"}),
    ):
        answer = browser.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert browser.get("/api/jobs", headers={"authorization": "Bearer td_none"}).status_code == 401
    assert browser.get("/api/jobs", headers={"authorization": "Basic YTpi"}).status_code == 401


def test_the_cookie_is_flagged_and_new_every_time(house: House) -> None:
    browser = house.browser()
    browser.cookies.set(COOKIE, "chosen-by-an-attacker")
    answer = browser.post("/sign-in", data={"name": "mia", "password": PASSWORD})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert all(flag in cookie for flag in ("HttpOnly", "SameSite=lax", "Path=/"))
    assert "Domain" not in cookie
    first = answer.cookies[COOKIE]
    assert first != "chosen-by-an-attacker"
    browser.cookies.clear()
    browser.cookies.set(COOKIE, first)
    second = browser.post("/sign-in", data={"name": "mia", "password": PASSWORD}).cookies[COOKIE]
    assert second != first
    with house.ctx.db.session() as session:  # rotated: the old one opens nothing
        assert sessions.find(session, first, idle_days=7) is None
        assert sessions.find(session, second, idle_days=7) is not None
        assert first not in {row.digest for row in session.exec(select(SignedIn))}


def test_on_tls_the_cookie_is_bound_to_this_very_host(house: House) -> None:
    browser = house.browser("mia", scheme="https")
    assert set(browser.cookies) == {SECURE}
    assert browser.get("/account").status_code == 200
    plain = house.browser()
    plain.cookies.set(SECURE, browser.cookies[SECURE])  # one that came over a plain page counts for nothing
    assert plain.get("/account").status_code == 303


def test_a_wrong_name_and_a_wrong_password_look_the_same(house: House) -> None:
    pages = {
        house.browser().post("/sign-in", data={"name": name, "password": "wrong wrong wrong"}).text.replace(name, "")
        for name in ("mia", "nobody-here")
    }
    assert len(pages) == 1


def test_guessing_is_made_to_wait(house: House) -> None:
    browser = house.browser()
    codes: list[int] = []
    while 429 not in codes and len(codes) < 12:  # a slow machine may outwait the first seconds
        codes.append(browser.post("/sign-in", data={"name": "mia", "password": f"guess {len(codes)}"}).status_code)
    assert codes[:5] == [401] * 5
    assert codes[-1] == 429
    answer = browser.post("/sign-in", data={"name": "mia", "password": PASSWORD})
    assert answer.status_code == 429  # the right one too, until the time is over
    assert int(answer.headers["retry-after"]) >= 1
    assert house.browser("max").get("/").status_code == 200  # others come in from the same address
    with house.ctx.db.session(write=True) as session:
        session.execute(sa.update(FailedSignIn).values(wait_until=utcnow() - timedelta(seconds=1)))
    assert browser.post("/sign-in", data={"name": "mia", "password": PASSWORD}).status_code == 303


def test_signing_out_ends_the_session_everywhere_it_is_known(house: House) -> None:
    browser = house.browser("mia")
    value = browser.cookies[COOKIE]
    assert browser.post("/sign-out").headers["location"] == "/sign-in"
    browser.cookies.set(COOKIE, value)
    assert browser.get("/").headers["location"] == "/sign-in"


@pytest.mark.parametrize("aged", ["expires_at", "last_used"])
def test_a_session_ends_by_itself(house: House, aged: str) -> None:
    browser = house.browser("mia")
    with house.ctx.db.session(write=True) as session:
        session.execute(sa.update(SignedIn).values({aged: utcnow() - timedelta(days=8)}))
    assert browser.get("/").status_code == 303


def test_one_is_signed_out_elsewhere_and_by_a_new_password(house: House) -> None:
    here, there = house.browser("mia"), house.browser("mia")
    page = here.get("/account").text
    with house.ctx.db.session() as session:
        other = sessions.of_user(session, house.ids["mia"])
    assert page.count('/sign-out"') >= 2
    here.post("/account/browsers/others/sign-out")
    assert (here.get("/").status_code, there.get("/").status_code) == (200, 303)
    assert len(other) == 2
    form = {"old_password": "not it at all", "password": "another four words", "again": "another four words"}
    assert "not your present password" in here.post("/account/password", data=form).text
    with house.ctx.db.session(write=True) as session:
        _row, token = tokens.make(session, house.ids["mia"], "t", Scope.READ, 30)
    right = form | {"old_password": PASSWORD, "tokens_too": "yes"}
    assert here.post("/account/password", data=right).status_code == 303
    assert here.get("/").status_code == 303
    assert house.browser(token=token).get("/api/jobs").status_code == 401
    assert here.post("/sign-in", data={"name": "mia", "password": "another four words"}).status_code == 303


def test_nobody_revokes_what_is_anothers(house: House) -> None:
    house.browser("ada")
    with house.ctx.db.session() as session:
        ada = sessions.of_user(session, house.ids["ada"])[0].id
    assert house.browser("mia").post(f"/account/browsers/{ada}/sign-out").status_code == 404


def test_a_form_without_its_page_is_refused(house: House) -> None:
    browser = house.browser("mia")
    del browser.headers["origin"]
    answer = browser.post(f"/jobs/{house.world.queued}/cancel")
    assert answer.status_code == 403
    assert browser.post(f"/jobs/{house.world.queued}/cancel", headers={"sec-fetch-site": "same-origin"}).is_redirect


# ---- Links ----


def test_the_first_link_makes_the_administrator_and_what_was_there_is_theirs(house: House) -> None:
    with house.ctx.db.session(write=True) as session:
        session.execute(sa.delete(User))
        session.execute(sa.update(Job).values(owner_id=None))
        first, second = links.first_link(session), links.first_link(session)
    browser = house.browser()
    assert "no administrator yet" in browser.get("/sign-in").text
    assert "Make the first administrator" in browser.get(f"/welcome?key={first}").text
    form = {"key": first, "name": "ada l", "password": "a long enough one", "again": "another one here"}
    assert "differ" in browser.post("/welcome", data=form).text
    assert "guess" in browser.post("/welcome", data=form | {"password": "short", "again": "short"}).text
    answer = browser.post("/welcome", data=form | {"again": "a long enough one"})
    assert answer.headers["location"] == "/"
    assert browser.get(f"/jobs/{house.world.done}").status_code == 200
    with house.ctx.db.session() as session:
        user = service.find(session, "ADA L")
        assert user is not None
        assert session.get_one(Job, house.world.done).owner_id == user.id
        assert links.first_link(session) == ""
    for key in (first, second, "made-up"):  # each is worth nothing from now on
        assert house.browser().get(f"/welcome?key={key}").status_code == 404
        assert house.browser().post("/welcome", data=form | {"key": key}).status_code == 404


def test_an_administrator_lets_somebody_in_by_a_link(house: House) -> None:
    ada = house.browser("ada")
    page = ada.post("/settings/people", data={"name": "  new  one ", "role": "member"}).text
    key = page.split("/welcome?key=")[1].split("<")[0].split("&#34;")[0].strip()
    assert "An account" in page or "works once" in page
    assert ada.post("/settings/people", data={"name": "NEW ONE", "role": "member"}).status_code == 422
    assert ada.post("/settings/people", data={"name": "x", "role": "king"}).status_code == 422
    browser = house.browser()
    assert "Set your password, new one" in browser.get(f"/welcome?key={key}").text
    form = {"key": key, "password": "a long enough one", "again": "a long enough one"}
    assert browser.post("/welcome", data=form).headers["location"] == "/"
    assert browser.get("/datasets/new").status_code == 200
    assert house.browser().post("/welcome", data=form).status_code == 404


def test_closing_an_account_shuts_it_out_at_once(house: House) -> None:
    ada, mia = house.browser("ada"), house.browser("mia")
    answer = mia.post("/account/tokens", data={"name": "n", "scope": "write", "days": "30"})
    token = "td_" + answer.text.split("td_")[1].split("<")[0]
    script = house.browser(token=token)
    assert script.get("/api/jobs").status_code == 200
    ada.post(f"/settings/people/{house.ids['mia']}/close")
    assert mia.get("/").status_code == 303
    assert script.get("/api/jobs").status_code == 401
    assert house.browser().post("/sign-in", data={"name": "mia", "password": PASSWORD}).status_code == 401
    ada.post(f"/settings/people/{house.ids['mia']}/open")
    assert house.browser("mia").get("/").status_code == 200
    assert ada.get(f"/jobs/{house.world.done}").status_code == 200


def test_the_last_administrator_stays(house: House) -> None:
    with house.ctx.db.session(write=True) as session:
        ada = service.get(session, house.ids["ada"])
        with pytest.raises(ConflictError):
            service.set_role(session, ada, Role.MEMBER)
        with pytest.raises(ConflictError):
            service.disable(session, ada)
    browser = house.browser("ada")
    assert browser.post(f"/settings/people/{house.ids['ada']}/role", data={"role": "viewer"}).status_code == 409
    browser.post(f"/settings/people/{house.ids['mia']}/role", data={"role": "administrator"})
    assert browser.post(f"/settings/people/{house.ids['ada']}/role", data={"role": "viewer"}).status_code == 303
    assert browser.get("/settings").status_code == 403  # from the very next request on


# ---- Pure ----


@pytest.mark.parametrize("path", ["/", "/jobs?show=failed", "/datasets/3?row=10"])
def test_paths_of_ours_are_followed(path: str) -> None:
    assert is_ours(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "jobs",
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/\t/evil.example",
        "/a\r\nset-cookie: b",
    ],
)
def test_others_are_not(path: str) -> None:
    assert not is_ours(path)


@given(st.text(max_size=40))
def test_no_path_leads_elsewhere(path: str) -> None:
    if is_ours(path):
        assert path.startswith("/")
        assert not path.startswith(("//", "/\\"))
        assert path.isascii()
        assert path.isprintable()


@pytest.mark.parametrize("password", ["", "short", "aaaaaaaaaaaaaaaa", "password123", "X" * 201, "mia mia mia"])
def test_weak_passwords_are_refused(password: str) -> None:
    with pytest.raises(InvalidError):
        passwords.check_new(password, "mia mia mia")


def test_passwords_are_argon2id_and_never_stored(house: House) -> None:
    with house.ctx.db.session() as session:
        for user in service.list_users(session):
            assert user.password_hash.startswith("$argon2id$")
            assert PASSWORD not in user.password_hash
        assert datasets.list_datasets(session)
