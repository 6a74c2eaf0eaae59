"""Tokens, encrypted at rest (Fernet). They can be set, used by a worker, and removed; never read back by a page."""

from __future__ import annotations

import os

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlmodel import Session

from app.core.settings import Settings
from app.domain.errors import ConflictError, InvalidError
from app.domain.secrets.models import Secret

HUB_TOKEN = "hub_token"  # noqa: S105 - a name, not a token

#: No token of the Hub or of servers like it is shorter.
_SHORTEST = 8


def cipher_of(settings: Settings) -> MultiFernet:
    """Writes with the first key; those behind it, set while a key is changed, still read."""
    given = settings.secret_key.get_secret_value()
    try:
        return MultiFernet([Fernet(key) for key in (given.encode() if given else key_file(settings)).split()])
    except ValueError as exc:
        where = "TUNEDECK_SECRET_KEY" if given else f"{settings.root / 'secret.key'}"
        message = (
            f"The key in {where} is no Fernet key: 32 bytes in URL-safe base64. `tunedeck secrets new-key` prints one."
        )
        raise ConflictError(message) from exc


def key_file(settings: Settings) -> bytes:
    """The keys of the data folder, the first for writing. Made, readable to its owner alone, when there is none."""
    path = settings.root / "secret.key"
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(fd, "wb") as file:
        file.write(Fernet.generate_key())
    return path.read_bytes()


def new_key() -> str:
    """A key for `TUNEDECK_SECRET_KEY`."""
    return Fernet.generate_key().decode()


def decrypted(cipher: MultiFernet, row: Secret) -> bytes:
    """The value. Raises `ConflictError` when no key opens it."""
    try:
        return cipher.decrypt(row.ciphertext)
    except InvalidToken as exc:
        message = "A stored secret can't be decrypted: the secret key has changed. Enter it again in Settings."
        raise ConflictError(message) from exc


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
    row.ciphertext = cipher_of(settings).encrypt(value.encode())
    row.hint = hint
    session.add(row)
    session.flush()


def get_secret(session: Session, settings: Settings, name: str) -> str:
    """The value, for a worker; empty when there is none."""
    row = session.get(Secret, name)
    if row is None:
        return ""
    return decrypted(cipher_of(settings), row).decode()


def find_secret(session: Session, name: str) -> Secret | None:
    """Whether and since when there is one; the value stays closed."""
    return session.get(Secret, name)


def delete_secret(session: Session, name: str) -> None:
    """Forget it."""
    row = session.get(Secret, name)
    if row is not None:
        session.delete(row)
        session.flush()
