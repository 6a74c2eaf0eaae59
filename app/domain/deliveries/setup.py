"""Where messages go: checked settings of the two channels, and their secrets. Callers commit."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from sqlmodel import Session

from app.core.db import utcnow
from app.core.settings import Settings
from app.domain.deliveries import signature
from app.domain.deliveries.models import Channel, NotifyChannel
from app.domain.errors import InvalidError
from app.domain.secrets import service as secrets

SECRETS = {Channel.WEBHOOK: "webhook_secret", Channel.EMAIL: "smtp_password"}
Ends = tuple[Literal["succeeded", "failed", "cancelled"], ...]
_MAIL = re.compile(r"[^\s@<>,;:\"()\[\]\\]{1,64}@[A-Za-z0-9.-]{1,253}")
_MOST_RECIPIENTS = 20
#: Fields in the order of the form.
_ON_THE_PAGE = ("url", "recipients", "sender", "host", "security", "port", "user", "ends")
_SENTENCES = {
    "host": "Write the name of the mail server alone, such as smtp.example.org.",
    "port": "The port is a number from 1 to 65535; usually 587 or 465.",
    "ends": "Choose at least one of the three.",
    "security": "Choose one of the three.",
}


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    ends: Annotated[Ends, Field(min_length=1)] = ("succeeded", "failed")


class WebhookConfig(_Config):
    """An address that is called."""

    url: Annotated[str, Field(max_length=2000)]

    @field_validator("url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            good = False
        if not good or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("This is no address that can be called. One begins with https:// and has no spaces.")
        if parts.username or parts.password:
            raise ValueError("Leave the user and the password out of the address: it is shown on this page.")
        return value


class EmailConfig(_Config):
    """A mail server, and who gets the mail."""

    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]{1,253}$")]
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: Annotated[str, Field(max_length=320)] = ""
    sender: str
    recipients: tuple[str, ...]

    @field_validator("sender")
    @classmethod
    def _one(cls, value: str) -> str:
        if not _MAIL.fullmatch(value):
            raise ValueError("This is no mail address. One looks like name@example.org.")
        return value

    @field_validator("recipients")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        bad = [each for each in value if not _MAIL.fullmatch(each)]
        if bad:
            raise ValueError(f"“{bad[0][:80]}” is no mail address. Separate several by commas.")
        if not 1 <= len(value) <= _MOST_RECIPIENTS:
            raise ValueError(f"Name at least one address, and at most {_MOST_RECIPIENTS}.")
        return value

    @model_validator(mode="after")
    def _no_open_password(self) -> EmailConfig:
        if self.user and self.security == "none":
            raise ValueError("Without encryption the password would be readable on the way. Leave the user name empty.")
        return self


CONFIGS: dict[Channel, type[WebhookConfig | EmailConfig]] = {
    Channel.WEBHOOK: WebhookConfig,
    Channel.EMAIL: EmailConfig,
}


def find(session: Session, channel: Channel) -> WebhookConfig | EmailConfig | None:
    """The settings of `channel`, if it is switched on."""
    row = session.get(NotifyChannel, channel)
    return CONFIGS[channel].model_validate(row.config) if row else None


def save(session: Session, channel: Channel, raw: dict[str, Any]) -> None:
    """Check and keep. Raises `InvalidError` with a sentence for each field."""
    try:
        config = CONFIGS[channel].model_validate(raw)
    except ValidationError as exc:
        wrong = {str(each["loc"][0]) if each["loc"] else "user": _sentence(each) for each in exc.errors()}
        errors = {name: wrong[name] for name in _ON_THE_PAGE if name in wrong}
        raise InvalidError("Some answers need another look.", errors=errors) from exc
    row = session.get(NotifyChannel, channel) or NotifyChannel(channel=channel)
    row.config, row.changed_at = config.model_dump(mode="json"), utcnow()
    session.add(row)
    session.flush()


def _sentence(error: Any) -> str:
    if error["type"] == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    return _SENTENCES.get(str(error["loc"][0]), "This can't be used. Look at it again.")


def keep_password(session: Session, settings: Settings, password: str) -> None:
    """Keep the mail server's password, encrypted; nothing given leaves the old one. Raises `InvalidError`."""
    if not password.isascii():  # smtplib sends no other
        said = (
            "The password may hold only plain letters, digits and signs (ASCII). Many providers give an app password."
        )
        raise InvalidError(said, errors={"password": said})
    if password:
        secrets.store(session, settings, SECRETS[Channel.EMAIL], password)


def set_signing_secret(session: Session, settings: Settings, given: str = "") -> str:
    """Keep `given`, or a fresh one; returns it, to be shown this once. Raises `InvalidError`."""
    secret = given or signature.new_secret()
    try:
        signature.key_of(secret)
    except ValueError as exc:
        said = "This is no signing secret: one begins with whsec_ and goes on with at least 32 letters and digits."
        raise InvalidError(said, errors={"signing_secret": said}) from exc
    secrets.store(session, settings, SECRETS[Channel.WEBHOOK], secret)
    return secret


def remove(session: Session, channel: Channel) -> None:
    """Send nothing this way any more, and forget the secret."""
    row = session.get(NotifyChannel, channel)
    if row is not None:
        session.delete(row)
    secrets.delete_secret(session, SECRETS[channel])
    session.flush()
