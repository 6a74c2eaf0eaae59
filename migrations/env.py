"""Alembic's environment: the address comes from the caller (`app.core.migrate`) or from the settings."""

from __future__ import annotations

from alembic import context

from app.core.db import make_engine
from app.core.settings import get_settings
from app.domain.tables import metadata


def run() -> None:
    """Upgrade over one connection, in one transaction."""
    url = context.config.get_main_option("sqlalchemy.url") or get_settings().database
    engine = make_engine(url)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=metadata,
            render_as_batch=True,
            compare_type=True,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
