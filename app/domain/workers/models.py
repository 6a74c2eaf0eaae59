"""Table of workers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from app.core.db import utcnow


class Worker(SQLModel, table=True):
    """A worker process of one queue on one host, and when it last said so."""

    name: str = Field(primary_key=True)
    queue: str = Field(primary_key=True)
    host: str
    pid: int
    #: Counter of signs of life; compared only with itself.
    beat: int = 0
    #: Cores, memory, GPUs, labels, engines, versions.
    facts: dict[str, Any] = Field(default_factory=dict, sa_column=sa.Column(sa.JSON, nullable=False))
    started_at: datetime = Field(default_factory=utcnow)
    last_seen: datetime = Field(default_factory=utcnow)
    #: It saves its job and takes no other; read at each claim and beat, forgotten when the worker starts anew.
    draining: bool = False
