"""Table of secrets."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Field, SQLModel

from app.core.db import utcnow


class Secret(SQLModel, table=True):
    """An encrypted value, such as the Hub token. Never shown again."""

    name: str = Field(primary_key=True)
    ciphertext: bytes
    hint: str = ""
    created_at: datetime = Field(default_factory=utcnow)
