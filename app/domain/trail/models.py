"""Table of the audit log. Triggers of the database refuse to change or delete a row."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from app.core.db import utcnow


class AuditEntry(SQLModel, table=True):
    """Somebody did something, or was refused. Names as they were then: accounts and objects may go."""

    __tablename__ = "audit_entry"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(default_factory=utcnow, index=True)
    user_id: int | None = Field(default=None, index=True)
    who: str
    #: local, session, token, command; empty for who is not known.
    via: str
    address: str = ""
    #: Such as `job.cancel`, from the table of permissions.
    action: str = Field(index=True)
    #: What it was about, such as `job 12`.
    subject: str = ""
    #: done or refused.
    outcome: str = "done"
    detail: dict[str, Any] = Field(default_factory=dict, sa_column=sa.Column(sa.JSON, nullable=False))
