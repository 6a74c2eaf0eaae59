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
from app.domain.users import service, sessions
from app.main import create_app
from tests.people.crowd import PASSWORD, PEOPLE, give, settle
from tests.web import seeding
from tests.web.conftest import client

__all__ = ["PASSWORD", "PEOPLE", "client"]
COOKIES = {"http": "tunedeck_session", "https": "__Host-tunedeck"}


@dataclass
class House:
    """The application, and its people. What `seeding.world` makes is mia's."""

    ctx: Context
    app: FastAPI
    ids: dict[str, int]
    world: seeding.World
    _browsers: list[TestClient] = field(default_factory=list)

    def browser(self, name: str = "", *, scheme: str = "http", token: str = "") -> TestClient:
        """A browser of its own; with `name` signed in already, with `token` a script instead."""
        headers = {"origin": f"{scheme}://localhost"} if not token else {"authorization": f"Bearer {token}"}
        made = TestClient(
            self.app, f"{scheme}://localhost", raise_server_exceptions=False, follow_redirects=False, headers=headers
        )
        self._browsers.append(made)
        if name:
            made.cookies.set(COOKIES[scheme], self._session(name), domain="localhost.local")  # as cookiejar calls it
        return made

    def _session(self, name: str) -> str:
        """Without the password, which takes its time."""
        with self.ctx.db.session(write=True) as session:
            user = service.get(session, self.ids[name])
            return sessions.start(session, user, days=30, address="testclient", browser="testclient")

    def sign_in(self, name: str) -> TestClient:
        """By the form."""
        browser = self.browser()
        answer = browser.post("/sign-in", data={"name": name, "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        return browser

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
    ids, world = settle(ctx), seeding.world(ctx)
    give(ctx, ids["mia"])
    return House(make_context(settings), create_app(settings), ids, world)


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
