"""Hosts that share nothing but S3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.core.settings import Settings
from app.core.storage import LocalStorage, open_storage

NewHost = Callable[[str], LocalStorage]


@pytest.fixture
def new_host(s3_settings: Settings, tmp_path: Path) -> NewHost:
    """A storage with an empty folder of its own, by the name of its host."""
    return lambda name: open_storage(s3_settings.model_copy(update={"data_dir": tmp_path / name}))
