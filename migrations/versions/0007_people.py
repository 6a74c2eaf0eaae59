"""accounts, sign-ins, tokens and an audit log; data sets and jobs have an owner.

Revision ID: 0007
Revises: 0006
Created: 2026-11-24 21:00:00
"""

from __future__ import annotations

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TEXT = sqlmodel.sql.sqltypes.AutoString
_WHEN = sqlmodel.sql.sqltypes.UTCDateTime
_OWNED = ("dataset", "job")


def upgrade() -> None:
    """Forward."""
    _people()
    _trail()
    for table in _OWNED:
        # Not by batch: that would make the table anew, and dropping the old one would take its children along.
        op.add_column(table, sa.Column("owner_id", sa.Integer(), nullable=True))
        op.add_column(table, sa.Column("shared", sa.Boolean(), server_default=sa.false(), nullable=False))
        op.create_index(op.f(f"ix_{table}_owner_id"), table, ["owner_id"])
    op.add_column("job", sa.Column("started_by", sa.Integer(), nullable=True))
    op.create_index(op.f("ix_job_started_by"), "job", ["started_by"])


def _people() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", _TEXT(), nullable=False),
        sa.Column("key", _TEXT(), nullable=False),
        sa.Column("password_hash", _TEXT(), nullable=False),
        sa.Column("role", _TEXT(), nullable=False),
        sa.Column("created_at", _WHEN(), nullable=False),
        sa.Column("disabled_at", _WHEN(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("key", name=op.f("uq_account_key")),
        sqlite_autoincrement=True,
    )
    _of_account(
        "signed_in",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", _TEXT(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("created_at", _WHEN(), nullable=False),
        sa.Column("last_used", _WHEN(), nullable=False),
        sa.Column("expires_at", _WHEN(), nullable=False),
        sa.Column("address", _TEXT(), nullable=False),
        sa.Column("browser", _TEXT(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signed_in")),
        sa.UniqueConstraint("digest", name=op.f("uq_signed_in_digest")),
    )
    _of_account(
        "api_token",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("name", _TEXT(), nullable=False),
        sa.Column("prefix", _TEXT(), nullable=False),
        sa.Column("digest", _TEXT(), nullable=False),
        sa.Column("scope", _TEXT(), nullable=False),
        sa.Column("created_at", _WHEN(), nullable=False),
        sa.Column("expires_at", _WHEN(), nullable=True),
        sa.Column("last_used", _WHEN(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_token")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_token_prefix")),
    )
    op.create_table(
        "one_time_link",
        sa.Column("digest", _TEXT(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.Column("created_at", _WHEN(), nullable=False),
        sa.Column("expires_at", _WHEN(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["account.id"], name=op.f("fk_one_time_link_user_id_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_one_time_link")),
    )
    op.create_table(
        "failed_sign_in",
        sa.Column("key", _TEXT(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last_at", _WHEN(), nullable=False),
        sa.Column("wait_until", _WHEN(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_failed_sign_in")),
    )


def _of_account(name: str, *columns: sa.SchemaItem) -> None:
    link = f"fk_{name}_user_id_account"
    op.create_table(
        name,
        *columns,
        sa.ForeignKeyConstraint(["user_id"], ["account.id"], name=op.f(link), ondelete="CASCADE"),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f(f"ix_{name}_user_id"), name, ["user_id"])


def _trail() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", _WHEN(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.Column("who", _TEXT(), nullable=False),
        sa.Column("via", _TEXT(), nullable=False),
        sa.Column("address", _TEXT(), nullable=False),
        sa.Column("action", _TEXT(), nullable=False),
        sa.Column("subject", _TEXT(), nullable=False),
        sa.Column("outcome", _TEXT(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entry")),
        sqlite_autoincrement=True,
    )
    for column in ("at", "user_id", "action"):
        op.create_index(op.f(f"ix_audit_entry_{column}"), "audit_entry", [column])
    for statement in _APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)


_SAID = "the audit log is append-only"
_SQLITE = "CREATE TRIGGER audit_entry_no_{0} BEFORE {0} ON audit_entry BEGIN SELECT RAISE(ABORT, '{1}'); END"
_FUNCTION = """CREATE FUNCTION audit_entry_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '{0}'; END $$"""
_POSTGRES = """CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
FOR EACH STATEMENT EXECUTE FUNCTION audit_entry_is_append_only()"""
_APPEND_ONLY = {
    "sqlite": [_SQLITE.format(what, _SAID) for what in ("update", "delete")],
    "postgresql": [_FUNCTION.format(_SAID), _POSTGRES],
}


def downgrade() -> None:
    """Back."""
    op.drop_index(op.f("ix_job_started_by"), "job")
    op.drop_column("job", "started_by")
    for table in _OWNED:
        op.drop_index(op.f(f"ix_{table}_owner_id"), table)
        op.drop_column(table, "shared")
        op.drop_column(table, "owner_id")
    for name in ("audit_entry", "failed_sign_in", "one_time_link", "api_token", "signed_in", "account"):
        op.drop_table(name)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_entry_is_append_only()")
