"""What the page about messages shows: each message with what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from app.core.db import utcnow
from app.domain.deliveries import service
from app.domain.deliveries.models import Channel, Delivery, DeliveryState
from app.web import filters
from app.web.render import translate as _
from app.web.render import translate_many

#: Letters of an answer; the rest of a page of HTML tells nobody anything.
_MOST_SHOWN = 200
ENDS = ("succeeded", "failed", "cancelled")


def values_of(config: BaseModel | None) -> dict[str, Any]:
    """A channel's settings as its form holds them; the defaults where there are none."""
    blank = {"url": "", "host": "", "port": 587, "security": "starttls", "user": "", "sender": "", "recipients": ""}
    if config is None:
        return blank | {"ends": ("succeeded", "failed")}
    kept = config.model_dump()
    return blank | kept | {"recipients": ", ".join(kept.get("recipients", ()))}


def ends() -> list[tuple[str, str]]:
    """The ends one may want to hear of."""
    said = (_("it has succeeded"), _("it has failed"), _("it was cancelled"))
    return list(zip(ENDS, said, strict=True))


def row_of(delivery: Delivery) -> dict[str, Any]:
    """One line of the list."""
    tries = [_try(each) for each in delivery.tries]
    return {
        "id": delivery.id,
        "message_id": delivery.message_id,
        "title": delivery.payload.get("text", delivery.event),
        "path": delivery.payload.get("data", {}).get("path", ""),
        "way": _("Webhook") if delivery.channel == Channel.WEBHOOK else _("E-mail"),
        "made": delivery.created_at,
        "badge": _BADGES[delivery.state],
        "label": _labels()[delivery.state],
        "last": tries[-1] if tries else None,
        "earlier": tries[-2::-1],
        "note": _note(delivery),
        "failed": delivery.state == DeliveryState.FAILED,
    }


_BADGES = {"waiting": "queued", "sending": "running", "delivered": "succeeded", "failed": "failed"}


def _labels() -> Mapping[str, str]:
    return {
        "waiting": _("Waiting"),
        "sending": _("Sending"),
        "delivered": _("Delivered"),
        "failed": _("Failed"),
    }


def _try(tried: dict[str, Any]) -> dict[str, Any]:
    status = tried["status"]
    answer = str(tried["answer"]).strip()
    answer = answer[:_MOST_SHOWN] + ("…" if len(answer) > _MOST_SHOWN else "")
    return {
        "at": datetime.fromisoformat(tried["at"]),
        "target": tried["target"],
        "said": f"{status} {answer}".strip() if status else answer,
    }


def _note(delivery: Delivery) -> str:
    if delivery.state != DeliveryState.WAITING:
        return ""
    left = (delivery.next_at - utcnow()).total_seconds()
    if not delivery.tries or left <= 0:
        return _("as soon as a worker is free")
    return _("again in %(time)s", time=filters.duration(left))


def policy() -> str:
    """How long it is tried, in words."""
    hours = round(sum(service.WAITS) / 3600)
    return translate_many(
        "A message that does not get through is tried again, %(n)s time within %(hours)s hours.",
        "A message that does not get through is tried again, %(n)s times within %(hours)s hours.",
        len(service.WAITS),
        hours=hours,
    )
