"""One try to deliver a message by mail."""

from __future__ import annotations

import smtplib
import socket
import ssl
from email.message import EmailMessage
from typing import Any

from app.core.outgoing import SILENCE_SECONDS, RefusedAddressError, connect, time_limit
from app.domain.deliveries.models import Delivery
from app.domain.deliveries.setup import EmailConfig
from worker.by_webhook import Outcome, payload_of


class _Client(smtplib.SMTP):
    """Calls the checked address only, and over TLS from the first byte where that is wanted."""

    def __init__(self, config: EmailConfig, allowed: list[str]) -> None:
        self._config, self._allowed = config, allowed
        super().__init__(config.host, config.port, timeout=SILENCE_SECONDS)

    def _get_socket(self, host: str, port: int, _timeout: float) -> socket.socket:
        peer = connect(host, port, self._allowed)
        if self._config.security == "tls":
            return ssl.create_default_context().wrap_socket(peer, server_hostname=host)
        return peer


def send(config: EmailConfig, password: str, delivery: Delivery, base: str, allowed: list[str]) -> Outcome:
    """Hand the mail to the server once."""
    try:
        refused = _hand_over(config, password, message_of(config, delivery, base), allowed)
    except RefusedAddressError as exc:
        return Outcome(ok=False, status=None, answer=str(exc), lasting=True)
    except smtplib.SMTPRecipientsRefused as exc:
        code, said = next(iter(exc.recipients.values()))
        return _refused(code, said)
    except smtplib.SMTPResponseException as exc:
        return _refused(exc.smtp_code, exc.smtp_error)
    except (OSError, smtplib.SMTPException) as exc:
        return Outcome(ok=False, status=None, answer=f"No answer: {str(exc) or type(exc).__name__}"[:500])
    answer = f"Taken, but not for {', '.join(refused)}." if refused else "Taken by the mail server."
    return Outcome(ok=True, status=250, answer=answer)


def _refused(code: int, said: bytes | str) -> Outcome:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    # 5xx is for good: a wrong password tried again and again would lock the account.
    return Outcome(ok=False, status=code, answer=text.replace("\x00", "")[:500], lasting=500 <= code < 600)


def _hand_over(config: EmailConfig, password: str, message: EmailMessage, allowed: list[str]) -> dict[str, Any]:
    with _Client(config, allowed) as client:
        assert client.sock is not None
        with time_limit(client.sock):
            if config.security == "starttls":
                client.starttls(context=ssl.create_default_context())
            if config.user:
                client.login(config.user, password)
            return client.send_message(message)


def message_of(config: EmailConfig, delivery: Delivery, base: str) -> EmailMessage:
    """The mail. Its Message-ID stays the same from try to try, so that a mailbox can drop doubles."""
    payload = payload_of(delivery, base)
    message = EmailMessage()
    message["Subject"] = " ".join(str(payload["text"]).split())[:200]
    message["From"] = config.sender
    message["To"] = ", ".join(config.recipients)
    message["Date"] = delivery.created_at
    message["Message-ID"] = f"<{delivery.message_id}@{config.sender.partition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join(_lines(payload)) + "\n")
    return message


def _lines(payload: dict[str, Any]) -> list[str]:
    job = payload["data"].get("job") or {}
    lines = [payload["text"]]
    if job.get("total_steps"):
        lines += ["", f"Step {job['step']} of {job['total_steps']}."]
    if job.get("error"):
        lines += ["", job["error"]["message"], job["error"]["advice"]]
    if payload["data"].get("url"):
        lines += ["", payload["data"]["url"]]
    return [line for line in lines if line is not None]
