"""Many at the same moment: nobody waits for himself, nothing is counted twice or not at all."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from app.core.context import Context
from app.domain.errors import ConflictError, DomainError, TooManyError
from app.domain.users import links, passwords, service, throttle
from app.domain.users.access import Role
from app.domain.users.models import FailedSignIn
from tests.people.conftest import PASSWORD, House
from tests.people.test_permissions import ids, in_order


def test_no_request_holds_two_connections(house: House) -> None:
    """With one connection in the pool, and no patience, every route still answers."""
    for who in ("vi", "ada"):
        browser = house.browser(who)
        db = house.app.state.ctx.db
        db.engine.pool.dispose()
        db.engine.pool = QueuePool(db.engine.pool._creator, pool_size=1, max_overflow=0, timeout=0.5)
        for method, path in in_order(house):
            answer = browser.request(method, path.format(**ids(house)), headers={"accept": "text/html"})
            assert answer.status_code < 500 or path == "/readyz", (method, path)


def test_a_link_that_is_good_once_is_used_once(any_house: House) -> None:
    ctx = any_house.ctx
    with ctx.db.session(write=True) as session:
        key = links.make(session, service.get(session, any_house.ids["vi"]))

    def use(n: int) -> str:
        try:
            with ctx.db.session(write=True) as session:
                links.use(session, key, "", f"hash {n}")
        except DomainError as exc:
            return type(exc).__name__
        return "used"

    with ThreadPoolExecutor(6) as pool:
        assert Counter(pool.map(use, range(6)))["used"] == 1


def test_two_administrators_do_not_shut_each_other_out(any_house: House) -> None:
    ctx, two = any_house.ctx, [any_house.ids["ada"], any_house.ids["mia"]]

    def demote(number: int) -> bool:
        try:
            with ctx.db.session(write=True) as session:
                service.set_role(session, service.get(session, number), Role.VIEWER)
        except ConflictError:
            return False
        return True

    for _round in range(5):
        with ctx.db.session(write=True) as session:
            for number in two:
                service.set_role(session, service.get(session, number), Role.ADMINISTRATOR)
        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(demote, two)) == [False, True]


def test_many_guesses_at_once_are_no_more_than_many_in_turn(any_ctx: Context) -> None:
    def guess(_n: int) -> str:
        try:
            with any_ctx.db.session(write=True) as session:
                throttle.attempt(session, "mia", "10.0.0.1")
        except TooManyError:
            return "wait"
        return "tried"

    with ThreadPoolExecutor(12) as pool:
        assert Counter(pool.map(guess, range(30)))["tried"] == 5
    with any_ctx.db.session() as session:
        assert session.execute(sa.select(sa.func.max(FailedSignIn.count))).scalar_one() == 5


def test_a_stranger_does_not_lock_an_account_for_everybody(any_ctx: Context) -> None:
    def tries(address: str, times: int) -> list[bool]:
        found = []
        for _n in range(times):
            try:
                with any_ctx.db.session(write=True) as session:
                    throttle.attempt(session, "ada", address)
                found.append(True)
            except TooManyError:
                found.append(False)
        return found

    assert tries("10.0.0.1", 7) == [True] * 5 + [False] * 2
    assert tries("10.0.0.2", 1) == [True]
    assert tries("2001:db8::1", 5) == [True] * 5
    assert tries("2001:db8::ffff", 1) == [False]  # the same house, another number


def test_a_password_that_changes_between_look_and_entry_lets_nobody_in(any_house: House) -> None:
    with any_house.ctx.db.session(write=True) as session:
        number, stored = service.password_of(session, "mia", "10.0.0.1")
    found, better = passwords.matches(PASSWORD, stored)
    assert found
    with any_house.ctx.db.session(write=True) as session:
        service.set_password(session, service.get(session, number), "another hash", tokens_too=True)
    with any_house.ctx.db.session(write=True) as session:
        assert service.signed_in(session, number, stored, "mia", "10.0.0.1", better) is None


def test_few_passwords_are_looked_at_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_PATIENCE_SECONDS", 0.05)
    held = [passwords._FEW.acquire(timeout=1) for _ in range(4)]
    try:
        with pytest.raises(TooManyError):
            passwords.hashed("four plain words")
    finally:
        for _each in held:
            passwords._FEW.release()
