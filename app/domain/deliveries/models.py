"""Tables of messages about jobs that ended: where they go, and each one with what became of it."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from app.core.db import utcnow


class Channel(StrEnum):
    """How a message goes out."""

    WEBHOOK = "webhook"
    EMAIL = "email"


class DeliveryState(StrEnum):
    """Where a message stands. `sending` is a claim, which runs out."""

    WAITING = "waiting"
    SENDING = "sending"
    DELIVERED = "delivered"
    FAILED = "failed"


#: Nothing more is sent in these.
SETTLED = frozenset({DeliveryState.DELIVERED, DeliveryState.FAILED})


#: Due at once, whatever the clocks of the machines say.
AT_ONCE = datetime.fromtimestamp(0, UTC)


def _json() -> Any:
    return sa.Column(sa.JSON, nullable=False)


class NotifyChannel(SQLModel, table=True):
    """A row means: messages go out this way. Its secret lies among the secrets."""

    __tablename__ = "notify_channel"

    channel: str = Field(primary_key=True)
    #: `WebhookConfig` or `EmailConfig`.
    config: dict[str, Any] = Field(default_factory=dict, sa_column=_json())
    changed_at: datetime = Field(default_factory=utcnow)


class Delivery(SQLModel, table=True):
    """One message over one channel, written in the transaction of what it tells."""

    __table_args__ = (
        sa.Index("ix_delivery_due", "state", "next_at"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True)
    channel: str
    #: Stays the same however often it is sent, so that a receiver can drop doubles.
    message_id: str = Field(unique=True)
    #: `job.succeeded`, `job.failed`, `job.cancelled` or `test`.
    event: str
    #: No foreign key: the message outlives the job.
    job_id: int | None = Field(default=None)
    payload: dict[str, Any] = Field(default_factory=dict, sa_column=_json())
    state: str = Field(default=DeliveryState.WAITING)
    #: How often it was claimed; fences what a sender writes.
    attempt: int = 0
    #: When it is due; while it is being sent, when that claim runs out.
    next_at: datetime = Field(default=AT_ONCE)
    #: `{at, target, status, answer, seconds}` of each try, oldest first.
    tries: list[dict[str, Any]] = Field(default_factory=list, sa_column=_json())
    created_at: datetime = Field(default_factory=utcnow)
    settled_at: datetime | None = None
