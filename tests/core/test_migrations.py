"""The migrations make what the tables say, on both databases, and can be taken back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from app.core.context import Context
from app.core.migrate import alembic_config
from app.domain.tables import metadata


def test_the_schema_is_that_of_the_tables(any_ctx: Context) -> None:
    with any_ctx.db.engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    assert found == []


def test_people_can_be_taken_back_and_come_again(any_ctx: Context) -> None:
    config = alembic_config(any_ctx.settings.database)
    command.downgrade(config, "0006")
    with any_ctx.db.engine.connect() as connection:
        assert not sa.inspect(connection).has_table("account")
    command.upgrade(config, "head")
    test_the_schema_is_that_of_the_tables(any_ctx)
