"""The thread that sends messages: in the main process of each light worker, one message at a time."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session

from app.core.context import Context
from app.core.db import utcnow
from app.domain.deliveries import service, setup
from app.domain.deliveries.models import Channel, Delivery
from app.domain.errors import DomainError
from app.domain.secrets import service as secrets
from worker import by_email, by_webhook
from worker.by_webhook import Outcome

log = logging.getLogger(__name__)
_LOOK_SECONDS = 2.0
_TIDY_SECONDS = 3600.0


class Postman:
    """Looks for due messages every two seconds. Any number may run side by side."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="postman", daemon=True)
        self._next_tidy = 0.0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the message in hand; if that takes too long, its claim runs out and another sends it again."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _loop(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                while not self._stop.is_set() and self.send_one():
                    pass
                self._tidy()
            except sa.exc.SQLAlchemyError as exc:
                log.warning("The postman could not use the database: %s", exc)
            except Exception:
                log.exception("The postman stumbled; it goes on.")

    def send_one(self) -> bool:
        """Send what is due first; False when nothing was. No transaction is open while it sends."""
        with self._ctx.db.session() as session:
            found = service.due(session)
        if found is None:
            return False
        with self._ctx.db.session(write=True) as session:
            delivery = service.claim(session, found)
        if delivery is not None:
            self._deliver(delivery)
        return True

    def _deliver(self, delivery: Delivery) -> None:
        started, begun = utcnow(), time.monotonic()
        target, outcome = self._try_safely(delivery)
        tried: dict[str, Any] = {
            "at": started.isoformat(timespec="seconds"),
            "target": target,
            "status": outcome.status,
            "answer": outcome.answer[:500],
            "seconds": round(time.monotonic() - begun, 2),
        }
        with self._ctx.db.session(write=True) as session:
            written = service.settle(session, delivery, tried, ok=outcome.ok, lasting=outcome.lasting)
        if not (outcome.ok and written):
            extra = {"job": delivery.job_id} if delivery.job_id else {}
            log.warning("Message %s was not delivered: %s", delivery.message_id, outcome.answer[:200], extra=extra)

    def _try_safely(self, delivery: Delivery) -> tuple[str, Outcome]:
        try:
            return self._try(delivery)
        except sa.exc.SQLAlchemyError:
            raise  # the claim runs out, and the message is sent again
        except Exception as exc:
            log.exception("Message %s could not be sent", delivery.message_id)
            return "", Outcome(ok=False, status=None, answer=f"It could not be sent: {type(exc).__name__}: {exc}")

    def _try(self, delivery: Delivery) -> tuple[str, Outcome]:
        channel = Channel(delivery.channel)
        with self._ctx.db.session() as session:
            config = setup.find(session, channel)
            try:
                secret = self._secret(session, channel)
            except DomainError as exc:
                return "", Outcome(ok=False, status=None, answer=exc.message)
        settings = self._ctx.settings
        where = (settings.web.public_url, settings.notify.allowed_networks)
        if isinstance(config, setup.WebhookConfig):
            return config.url, by_webhook.send(config, secret, delivery, *where)
        if isinstance(config, setup.EmailConfig):
            return ", ".join(config.recipients), by_email.send(config, secret, delivery, *where)
        return "", Outcome(ok=False, status=None, answer="This way was switched off before it was sent.", lasting=True)

    def _secret(self, session: Session, channel: Channel) -> str:
        return secrets.get_secret(session, self._ctx.settings, setup.SECRETS[channel])

    def _tidy(self) -> None:
        if time.monotonic() >= self._next_tidy:
            self._next_tidy = time.monotonic() + _TIDY_SECONDS
            with self._ctx.db.session(write=True) as session:
                service.forget_old(session)
