"""uploads come in parts and go on where they were; a data set says where it was fetched from.

Revision ID: 0009
Revises: 0008
Created: 2026-11-25 00:00:00
"""

from __future__ import annotations

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TEXT = sqlmodel.sql.sqltypes.AutoString
_WHEN = sqlmodel.sql.sqltypes.UTCDateTime


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "upload",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("mark", _TEXT(), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=True),
        sa.Column("filename", _TEXT(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("key", _TEXT(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=True),
        sa.Column("created_at", _WHEN(), nullable=False),
        sa.Column("updated_at", _WHEN(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upload")),
        sa.UniqueConstraint("mark", name=op.f("uq_upload_mark")),
        sqlite_autoincrement=True,
    )
    # Not by batch: that would make the table anew, and dropping the old one would take its children along.
    op.add_column("dataset", sa.Column("origin", sa.JSON(), server_default="{}", nullable=False))
    op.create_index(op.f("ix_upload_owner_id"), "upload", ["owner_id"])
    op.create_index(op.f("ix_upload_updated_at"), "upload", ["updated_at"])


def downgrade() -> None:
    """Back."""
    op.drop_column("dataset", "origin")
    op.drop_table("upload")
