"""a job says which workers can serve it; what waits from before fits any.

Revision ID: 0006
Revises: 0005
Created: 2026-11-24 05:00:00
"""

from __future__ import annotations

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    with op.batch_alter_table("job") as batch:
        batch.add_column(sa.Column("gpus", sa.Integer(), server_default="0", nullable=False))
        batch.add_column(sa.Column("min_gpu_memory_gb", sa.Float(), server_default="0", nullable=False))
        batch.add_column(
            sa.Column("worker_label", sqlmodel.sql.sqltypes.AutoString(), server_default="", nullable=False)
        )


def downgrade() -> None:
    """Back."""
    with op.batch_alter_table("job") as batch:
        batch.drop_column("worker_label")
        batch.drop_column("min_gpu_memory_gb")
        batch.drop_column("gpus")
