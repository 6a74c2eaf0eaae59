"""The table of sweeps: what holds the trainings of one grid together."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from app.core.db import utcnow


class Sweep(SQLModel, table=True):
    """A grid over a few settings. Its trainings name it in `sweep_id`; each keeps its own settings."""

    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(default=None, primary_key=True)
    name: str
    #: Names of the settings that differ, in the order asked for.
    fields: list[str] = Field(default_factory=list, sa_column=sa.Column(sa.JSON, nullable=False))
    #: Number of the account that started it, and whose its trainings are.
    owner_id: int | None = Field(default=None, index=True)
    created_at: datetime = Field(default_factory=utcnow)
