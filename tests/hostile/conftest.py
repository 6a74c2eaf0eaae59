"""The running servers that are attacked: one on SQLite, one on Postgres, which refuses other things."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests import services
from tests.hostile.site import Site, running


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """On SQLite."""
    with running(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture(scope="session")
def postgres_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """On Postgres."""
    url = services.fresh_schema(services.needed(services.postgres_url(), "Postgres"))
    with running(tmp_path_factory.mktemp("site"), url) as made:
        yield made


@pytest.fixture(params=["site", "postgres_site"])
def any_site(request: pytest.FixtureRequest) -> Site:
    """Both, one after the other."""
    found: Site = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def web(site: Site) -> Iterator[httpx.Client]:
    """What follows nothing by itself."""
    with site.browser() as client:
        yield client
