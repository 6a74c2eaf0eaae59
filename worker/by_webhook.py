"""One try to deliver a message by webhook: a signed POST, answered by a status of 2xx. No redirect is followed."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any

from app.core.outgoing import RefusedAddressError, open_http, time_limit
from app.domain.deliveries import signature
from app.domain.deliveries.models import Delivery
from app.domain.deliveries.setup import WebhookConfig

_ANSWER_BYTES = 500
#: Statuses after which another try is of no use: a redirect, or gone for good.
_LASTING = frozenset({300, 301, 302, 303, 307, 308, 410})


@dataclass(frozen=True)
class Outcome:
    """How a try ended. `lasting`: another one is of no use."""

    ok: bool
    status: int | None
    answer: str
    lasting: bool = False


def send(config: WebhookConfig, secret: str, delivery: Delivery, base: str, allowed: list[str]) -> Outcome:
    """Call the address once."""
    body = json.dumps(payload_of(delivery, base), ensure_ascii=False).encode()
    try:
        status, answer = _post(config.url, _headers(secret, delivery, body), body, allowed)
    except RefusedAddressError as exc:
        return Outcome(ok=False, status=None, answer=str(exc), lasting=True)
    except (OSError, http.client.HTTPException) as exc:
        return Outcome(ok=False, status=None, answer=f"No answer: {str(exc) or type(exc).__name__}")
    if status in _LASTING - {410}:
        answer = f"A redirect, which is not followed: enter the address it leads to. {answer}".strip()
    return Outcome(ok=200 <= status < 300, status=status, answer=answer, lasting=status in _LASTING)


def payload_of(delivery: Delivery, base: str) -> dict[str, Any]:
    """What is sent; the link is whole when the page's own address is known."""
    path = delivery.payload.get("data", {}).get("path")
    if not path:
        return delivery.payload
    data = {key: value for key, value in delivery.payload["data"].items() if key != "path"}
    return {**delivery.payload, "data": {**data, "url": f"{base.rstrip('/')}{path}" if base else None}}


def _headers(secret: str, delivery: Delivery, body: bytes) -> dict[str, str]:
    signed = signature.headers_of(secret, delivery.message_id, int(time.time()), body)
    return {"content-type": "application/json", "user-agent": "tunedeck", "connection": "close", **signed}


def _post(url: str, headers: dict[str, str], body: bytes, allowed: list[str]) -> tuple[int, str]:
    client, target = open_http(url, allowed)
    try:
        with time_limit(client.sock):
            client.request("POST", target, body, headers)
            response = client.getresponse()
            return response.status, response.read(_ANSWER_BYTES).decode("utf-8", "replace").replace("\x00", "")
    finally:
        client.close()
