"""Hosts that share a database and S3, and no disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.core.context import Context, make_context
from app.core.settings import Settings

NewHost = Callable[..., Context]
#: Nobody listens there.
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def new_host(s3_settings: Settings, migrated_sqlite: Path, tmp_path: Path) -> Iterator[NewHost]:
    """A host with an empty data folder of its own."""
    shutil.copyfile(migrated_sqlite, tmp_path / "shared.db")
    made: list[Context] = []

    def host(name: str, **changes: str) -> Context:
        own = {"data_dir": tmp_path / name, "database_url": f"sqlite:///{tmp_path}/shared.db"}
        made.append(make_context(s3_settings.model_copy(update=own | changes), worker=True))
        return made[-1]

    yield host
    for ctx in made:
        ctx.db.dispose()
