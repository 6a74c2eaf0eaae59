"""the best checkpoint is marked; places in the queue have room between them.

Revision ID: 0005
Revises: 0004
Created: 2026-11-24 03:30:00
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

#: As `STRIDE` in app/domain/jobs/ordering.py.
_STRIDE = 1 << 20


def upgrade() -> None:
    """Forward."""
    with op.batch_alter_table("checkpoint") as batch:
        batch.add_column(sa.Column("eval_loss", sa.Float(), nullable=True))
        batch.add_column(sa.Column("best", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute(sa.text("UPDATE job SET position = position * :stride").bindparams(stride=_STRIDE))


def downgrade() -> None:
    """Back."""
    op.execute(sa.text("UPDATE job SET position = position / :stride").bindparams(stride=_STRIDE))
    with op.batch_alter_table("checkpoint") as batch:
        batch.drop_column("best")
        batch.drop_column("eval_loss")
