"""The real application over HTTP, on a migrated database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from app.core.context import Context
from app.main import create_app
from tests.web import seeding


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
