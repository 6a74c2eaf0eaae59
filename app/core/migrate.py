"""The schema is made by migrations, everywhere: in tests, on a laptop, on a server."""

from __future__ import annotations

from alembic import command
from alembic.config import Config

from app.core.settings import resource_dir


def alembic_config(url: str) -> Config:
    """Alembic's settings for the database at `url`."""
    config = Config()
    config.set_main_option("script_location", str(resource_dir("migrations")))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade(url: str) -> None:
    """Bring the schema to the newest version; a second call does nothing."""
    command.upgrade(alembic_config(url), "head")
