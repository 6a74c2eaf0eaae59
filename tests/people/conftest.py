"""An installation with accounts: an administrator, two members and a viewer, each in a browser of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.core.context import Context, make_context
from app.core.settings import Settings, WebSettings
from app.domain.datasets.models import Dataset
from app.domain.jobs.models import Job
from app.domain.sweeps.models import Sweep
from app.domain.users import passwords, service
from app.domain.users.access import Role
from app.main import create_app
from tests.web import seeding
from tests.web.conftest import client

__all__ = ["client"]
PASSWORD = "four plain words here"
PEOPLE = {"ada": Role.ADMINISTRATOR, "mia": Role.MEMBER, "max": Role.MEMBER, "vi": Role.VIEWER}


@dataclass
class House:
    """The application, and its people. What `seeding.world` makes is mia's."""

    ctx: Context
    app: FastAPI
    ids: dict[str, int]
    world: seeding.World
    _browsers: list[TestClient] = field(default_factory=list)

    def browser(self, name: str = "", *, scheme: str = "http", token: str = "") -> TestClient:
        """A browser of its own; with `name` signed in, with `token` a script instead."""
        headers = {"origin": f"{scheme}://localhost"} if not token else {"authorization": f"Bearer {token}"}
        made = TestClient(
            self.app, f"{scheme}://localhost", raise_server_exceptions=False, follow_redirects=False, headers=headers
        )
        self._browsers.append(made)
        if name:
            answer = made.post("/sign-in", data={"name": name, "password": PASSWORD})
            assert answer.status_code == 303, answer.text
        return made

    def share(self, *, shared: bool) -> None:
        """Everything of mia's, at once."""
        with self.ctx.db.session(write=True) as session:
            for table in (Dataset, Job):
                session.execute(sa.update(table).values(shared=shared))

    def close(self) -> None:
        """All browsers."""
        for browser in self._browsers:
            browser.close()


def open_house(settings: Settings, ctx: Context) -> House:
    """On the database of `ctx`."""
    web = WebSettings(accounts=True, stream_seconds=0)
    settings = settings.model_copy(update={"web": web, "database_url": ctx.settings.database_url})
    ids = {}
    with ctx.db.session(write=True) as session:
        for name, role in PEOPLE.items():
            user = service.create(session, name, role)
            user.password_hash = _hash()
            ids[name] = user.id or 0
    world = seeding.world(ctx)
    with ctx.db.session(write=True) as session:
        for table in (Dataset, Job):
            session.execute(sa.update(table).values(owner_id=ids["mia"]))
        session.execute(sa.update(Sweep).values(owner_id=ids["mia"]))
        session.execute(sa.update(Job).values(started_by=ids["mia"]))
    return House(make_context(settings), create_app(settings), ids, world)


_KNOWN: list[str] = []


def _hash() -> str:
    if not _KNOWN:
        _KNOWN.append(passwords.hashed(PASSWORD))
    return _KNOWN[0]


@pytest.fixture
def house(settings: Settings, ctx: Context) -> Iterator[House]:
    """On SQLite."""
    yield from lived_in(settings, ctx)


@pytest.fixture
def any_house(settings: Settings, any_ctx: Context) -> Iterator[House]:
    """On both databases."""
    yield from lived_in(settings, any_ctx)


def lived_in(settings: Settings, ctx: Context) -> Iterator[House]:
    """As long as a test lasts."""
    made = open_house(settings, ctx)
    with TestClient(made.app, "http://localhost"):  # its life: the hub, the sweeper
        yield made
    made.close()
    made.ctx.db.dispose()
