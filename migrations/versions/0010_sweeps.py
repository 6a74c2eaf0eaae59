"""trainings of one grid name their sweep.

Revision ID: 0010
Revises: 0009
Created: 2026-11-25 01:15:00
"""

from __future__ import annotations

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "sweep",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweep")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_sweep_owner_id"), "sweep", ["owner_id"])
    # Not by batch: that would make the table anew, and dropping the old one would take its children along.
    op.add_column("job", sa.Column("sweep_id", sa.Integer(), nullable=True))
    op.create_index(op.f("ix_job_sweep_id"), "job", ["sweep_id"])


def downgrade() -> None:
    """Back."""
    op.drop_index(op.f("ix_job_sweep_id"), "job")
    op.drop_column("job", "sweep_id")
    op.drop_table("sweep")
