"""The real application over HTTP, on a migrated database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient

from app.core.context import Context
from app.core.settings import Settings
from app.main import create_app
from tests.web import seeding

if TYPE_CHECKING:
    from tests.people.conftest import House


@pytest.fixture
def client(ctx: Context) -> Iterator[TestClient]:
    """A browser that shows what it gets; a broken route shows its error page."""
    app = create_app(ctx.settings)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False, follow_redirects=False) as browser:
        yield browser


@pytest.fixture
def world(ctx: Context) -> seeding.World:
    """One of everything."""
    return seeding.world(ctx)


@pytest.fixture
def house(settings: Settings, ctx: Context) -> Iterator[House]:
    """The same with accounts."""
    from tests.people.conftest import lived_in

    yield from lived_in(settings, ctx)
