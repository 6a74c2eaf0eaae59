"""a data set may be a version of another: it knows what it was made from, by whom, and what is different.

Revision ID: 0008
Revises: 0007
Created: 2026-11-25 00:00:00
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward. Not by batch: that would make the table anew, and dropping the old one would take its children along."""
    op.add_column("dataset", sa.Column("parent_id", sa.Integer(), nullable=True))
    op.add_column("dataset", sa.Column("family_id", sa.Integer(), nullable=True))
    op.add_column("dataset", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column("dataset", sa.Column("made_by", sa.Integer(), nullable=True))
    op.add_column("dataset", sa.Column("changes", sa.JSON(), server_default="{}", nullable=False))
    op.create_index(op.f("ix_dataset_family_id"), "dataset", ["family_id"])


def downgrade() -> None:
    """Back: versions stay, as data sets of their own."""
    op.drop_index(op.f("ix_dataset_family_id"), "dataset")
    for name in ("changes", "made_by", "version", "family_id", "parent_id"):
        op.drop_column("dataset", name)
