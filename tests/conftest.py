"""Fixtures of every room: a migrated database in a folder of its own, on SQLite and on Postgres."""

from __future__ import annotations

import gc
import secrets
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from app.core.context import Context, make_context
from app.core.migrate import upgrade
from app.core.settings import Settings
from tests import services
from tests.tiny_model import build_tiny_model

# A busy machine is no fault of the code under test.
hypothesis.settings.register_profile(
    "house", deadline=None, max_examples=60, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("house")


def pytest_configure() -> None:
    """What is imported while tests are collected stays: no collector needs to walk it."""
    gc.disable()


def pytest_collection_finish() -> None:
    """With torch in the process a walk takes a third of a second, and by itself Python makes many."""
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    gc.enable()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer's shell sets must not reach the settings of a test."""
    known = ("DATABASE_URL", "REDIS_URL", "DATA_DIR", "STORAGE_URL", "S3_ENDPOINT", "S3_REGION")
    for name in ("DATABASE_URL", "REDIS_URL", *(f"TUNEDECK_{each}" for each in known)):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an empty data folder; nothing is fetched from anywhere."""
    return Settings.model_validate({"data_dir": tmp_path / "data", "hub": {"offline": True}})


@pytest.fixture
def s3_settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that keep bytes on S3 as well, below a prefix of this test."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    prefix = f"s3://{services.BUCKET}/{secrets.token_hex(6)}"
    return settings.model_copy(update={"storage_url": prefix, "s3_endpoint": services.s3_url()})


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the schema, to be copied: migrations run once."""
    path = tmp_path_factory.mktemp("db") / "empty.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def ctx(settings: Settings, migrated_sqlite: Path) -> Iterator[Context]:
    """A context on a fresh SQLite file. Its broker is away, which must harm nothing."""
    settings.root.mkdir(parents=True)
    (settings.root / "tunedeck.db").write_bytes(migrated_sqlite.read_bytes())
    context = make_context(settings, worker=True)
    yield context
    context.db.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def any_ctx(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Context]:
    """The same on both databases."""
    if request.param == "sqlite":
        yield request.getfixturevalue("ctx")
        return
    url = services.fresh_schema(services.needed(services.postgres_url(), "Postgres"))
    context = make_context(settings.model_copy(update={"database_url": url}), worker=True)
    upgrade(context.settings.database)
    yield context
    context.db.dispose()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Llama with random weights and a ChatML tokenizer."""
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny-llama")
