"""Tokens, encrypted at rest (Fernet). They can be set, used by a worker, and removed; never read back by a page."""

from __future__ import annotations

import os

from cryptography.fernet import Fernet, InvalidToken
from sqlmodel import Session

from app.core.settings import Settings
from app.domain.errors import ConflictError, InvalidError
from app.domain.secrets.models import Secret

HUB_TOKEN = "hub_token"  # noqa: S105 - a name, not a token

#: No token of the Hub or of servers like it is shorter.
_SHORTEST = 8


def _cipher(settings: Settings) -> Fernet:
    given = settings.secret_key.get_secret_value()
    return Fernet(given.encode() if given else _key_file(settings))


def _key_file(settings: Settings) -> bytes:
    path = settings.root / "secret.key"
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(fd, "wb") as file:
        file.write(Fernet.generate_key())
    return path.read_bytes()


def set_secret(session: Session, settings: Settings, name: str, value: str) -> None:
    """Store the token `value`, encrypted, in place of an older one. Raises `InvalidError`."""
    value = value.strip()
    if not value:
        raise InvalidError("Paste the token first.", field=name)
    if len(value) < _SHORTEST or not value.isascii() or any(letter.isspace() for letter in value):
        raise InvalidError("This is no token: one is a single long word, such as hf_… Copy it whole.", field=name)
    store(session, settings, name, value, hint=f"…{value[-4:]}" if len(value) > 12 else "")


def store(session: Session, settings: Settings, name: str, value: str, *, hint: str = "") -> None:
    """Store `value` as it is, encrypted, in place of an older one."""
    row = session.get(Secret, name) or Secret(name=name, ciphertext=b"")
    row.ciphertext = _cipher(settings).encrypt(value.encode())
    row.hint = hint
    session.add(row)
    session.flush()


def get_secret(session: Session, settings: Settings, name: str) -> str:
    """The value, for a worker; empty when there is none."""
    row = session.get(Secret, name)
    if row is None:
        return ""
    try:
        return _cipher(settings).decrypt(row.ciphertext).decode()
    except InvalidToken as exc:
        message = "A stored secret can't be decrypted: the secret key has changed. Enter it again in Settings."
        raise ConflictError(message) from exc


def find_secret(session: Session, name: str) -> Secret | None:
    """Whether and since when there is one; the value stays closed."""
    return session.get(Secret, name)


def delete_secret(session: Session, name: str) -> None:
    """Forget it."""
    row = session.get(Secret, name)
    if row is not None:
        session.delete(row)
        session.flush()
