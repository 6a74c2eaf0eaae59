"""Table of uploads that are on their way."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from app.core.db import utcnow


class Upload(SQLModel, table=True):
    """A file that comes in parts. What has come lies on the disk of the web process, under a temporary name."""

    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(default=None, primary_key=True)
    #: Digest of owner, name, size and time of the last change: what is chosen again goes on where it was.
    mark: str = Field(unique=True)
    owner_id: int | None = Field(default=None, index=True)
    filename: str
    size: int = Field(sa_type=sa.BigInteger)
    #: Bytes that have come, from the first on.
    received: int = Field(default=0, sa_type=sa.BigInteger)
    #: Key of the bytes.
    key: str
    #: What became of it, once it was whole.
    dataset_id: int | None = None
    created_at: datetime = Field(default_factory=utcnow)
    #: When the last part came.
    updated_at: datetime = Field(default_factory=utcnow, index=True)
