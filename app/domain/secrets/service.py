"""Tokens, encrypted at rest (Fernet). They can be set, used by a worker, and removed; never read back by a page."""

from __future__ import annotations

import os

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlmodel import Session, select

from app.core.settings import Settings
from app.domain.errors import ConflictError, InvalidError
from app.domain.secrets.models import Secret

HUB_TOKEN = "hub_token"  # noqa: S105 - a name, not a token

#: No token of the Hub or of servers like it is shorter.
_SHORTEST = 8


def _cipher(settings: Settings) -> MultiFernet:
    """Writes with the first key; a second one, which a rotation that broke off left behind, still reads."""
    given = settings.secret_key.get_secret_value()
    try:
        return MultiFernet([Fernet(key) for key in (given.encode() if given else _key_file(settings)).split()])
    except ValueError as exc:
        where = "TUNEDECK_SECRET_KEY" if given else f"{settings.root / 'secret.key'}"
        message = (
            f"The key in {where} is no Fernet key: 32 bytes in URL-safe base64. `tunedeck secrets new-key` prints one."
        )
        raise ConflictError(message) from exc


def _key_file(settings: Settings) -> bytes:
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


def rotate(session: Session, settings: Settings) -> tuple[int, str]:
    """Encrypt everything with a new key: how many, and the key if it comes from the environment. Commit after it.

    Its file holds both keys until the caller has committed and calls `forget_old_key`: whatever breaks off in between,
    one of the two reads what is stored.
    """
    old, new = _cipher(settings), new_key()
    rows = list(session.exec(select(Secret)))
    values = [_decrypted(old, row) for row in rows]
    from_environment = bool(settings.secret_key.get_secret_value())
    if not from_environment:
        _write_keys(settings, [new, *_key_file(settings).decode().split()])
    for row, value in zip(rows, values, strict=True):
        row.ciphertext = Fernet(new).encrypt(value)
        session.add(row)
    session.flush()
    return len(rows), new if from_environment else ""


def forget_old_key(settings: Settings) -> None:
    """Once the new ciphertexts are committed."""
    if not settings.secret_key.get_secret_value():
        _write_keys(settings, _key_file(settings).decode().split()[:1])


def _write_keys(settings: Settings, keys: list[str]) -> None:
    """Whole or not at all, and readable to its owner alone."""
    part = settings.root / "secret.key.part"
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write("\n".join(keys))
        file.flush()
        os.fsync(file.fileno())
    part.replace(settings.root / "secret.key")


def _decrypted(cipher: MultiFernet, row: Secret) -> bytes:
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
    row.ciphertext = _cipher(settings).encrypt(value.encode())
    row.hint = hint
    session.add(row)
    session.flush()


def get_secret(session: Session, settings: Settings, name: str) -> str:
    """The value, for a worker; empty when there is none."""
    row = session.get(Secret, name)
    if row is None:
        return ""
    return _decrypted(_cipher(settings), row).decode()


def find_secret(session: Session, name: str) -> Secret | None:
    """Whether and since when there is one; the value stays closed."""
    return session.get(Secret, name)


def delete_secret(session: Session, name: str) -> None:
    """Forget it."""
    row = session.get(Secret, name)
    if row is not None:
        session.delete(row)
        session.flush()
