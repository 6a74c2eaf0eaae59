"""The condition that no query can forget."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, col, select

from app.core.context import Context
from app.domain.datasets import service as datasets
from app.domain.datasets.models import Dataset
from app.domain.errors import NotFoundError
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Job
from app.domain.users.access import LOCAL, Actor, Role, Scope
from app.domain.users.scoping import act_as, everybody
from tests.people.conftest import House
from tests.web import seeding

ROOT = Path(__file__).resolve().parents[2]


def seen(session: Session) -> set[str]:
    """By every way of asking."""
    found = {job.name for job in session.exec(select(Job))}
    assert found == set(session.execute(sa.select(col(Job.name))).scalars())
    assert len(found) <= session.execute(sa.select(sa.func.count(col(Job.id)))).scalar_one()
    return found


def test_the_condition_holds_for_every_way_of_asking(any_house: House) -> None:
    house, world = any_house, any_house.world
    with house.ctx.db.session(write=True) as session:
        act_as(session, Actor(house.ids["max"], "max", Role.MEMBER))
        assert seen(session) == set()
        assert session.get(Job, world.done) is None
        assert session.get(Dataset, world.dataset) is None
        assert session.execute(sa.update(Job).values(name="stolen")).rowcount == 0  # type: ignore[attr-defined]
        assert session.execute(sa.delete(Job)).rowcount == 0  # type: ignore[attr-defined]
        assert session.execute(everybody(sa.select(sa.func.count(col(Job.id))))).scalar_one() > 0
        for ask in (jobs.get_job, datasets.get_dataset):
            with pytest.raises(NotFoundError):
                ask(session, world.done)
    with house.ctx.db.session() as session:
        act_as(session, Actor(house.ids["mia"], "mia", Role.MEMBER))
        assert {"done", "queued"} <= seen(session)
        assert session.get(Job, world.done) is not None
    with house.ctx.db.session() as session:
        act_as(session, Actor(house.ids["ada"], "ada", Role.ADMINISTRATOR, via="token", scope=Scope.WRITE))
        assert seen(session) == set()  # a lesser token of an administrator sees their own


@given(
    role=st.sampled_from(list(Role)), scope=st.sampled_from(list(Scope)), owner=st.sampled_from([None, 1, 2]),
    me=st.sampled_from([None, 1]), shared=st.booleans(),
)  # fmt: skip
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_who_owns_sees_and_nobody_owns_by_looking(
    role: Role, scope: Scope, owner: int | None, me: int | None, shared: bool
) -> None:
    actor = Actor(me, "x", role, scope=scope)
    if actor.owns(owner):
        assert actor.sees(owner, shared=shared)
        assert role is not Role.VIEWER
        assert scope is not Scope.READ
    if actor.has(Role.ADMINISTRATOR):
        assert actor.has(Role.MEMBER)
        assert scope is Scope.ADMIN
    assert actor.has(Role.VIEWER)


def test_without_accounts_everything_is_the_one_persons(ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        act_as(session, LOCAL)
        made = seeding.dataset(session, ctx)
        job = seeding.training(session, ctx, made)
        assert (job.owner_id, job.shared) == (None, False)
        assert LOCAL.owns(None)


def test_no_route_asks_in_plain_sql() -> None:
    """The condition is added to ORM statements alone."""
    rooms = [ROOT / "app/web", ROOT / "app/domain"]
    plain = [
        path for room in rooms for path in room.rglob("*.py") if re.search(r"\btext\(\s*f?[\"']", path.read_text())
    ]
    assert plain == []
