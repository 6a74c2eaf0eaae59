"""Another key in place of the old one. It commits by itself: the file and the rows change in a certain order."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.fernet import Fernet, MultiFernet
from sqlmodel import select

from app.core.context import Context
from app.core.settings import Settings
from app.domain.errors import ConflictError
from app.domain.secrets.models import Secret
from app.domain.secrets.service import cipher_of, decrypted, key_file, new_key

_HOW = (
    "The key comes from TUNEDECK_SECRET_KEY. Put a new one before it, with a space between (`tunedeck secrets new-key` "
    "prints one), start every process again with both, and call this once more; then take the old one away."
)


def rotate(ctx: Context) -> int:
    """Encrypt every stored secret with another key; how many there are. Raises `ConflictError`.

    Both keys read until every row is known to open with the new one alone, so whatever breaks off in between, nothing
    is lost; one at a time.
    """
    settings = ctx.settings
    if given := settings.secret_key.get_secret_value():
        if len(given.split()) < 2:
            raise ConflictError(_HOW)
        return _encrypt_anew(ctx, given.split()[0])
    with _alone(settings):
        old = key_file(settings).decode().split()
        new = new_key()
        _write_keys(settings, [new, *old])
        count = _encrypt_anew(ctx, new)
        _write_keys(settings, [new])
    return count


def _encrypt_anew(ctx: Context, key: str) -> int:
    with ctx.db.session(write=True) as session:
        both = cipher_of(ctx.settings)
        rows = session.exec(select(Secret).with_for_update()).all()
        for row in rows:
            row.ciphertext = Fernet(key).encrypt(decrypted(both, row))
            session.add(row)
    with ctx.db.session() as session:  # one that was stored meanwhile is still of the old key
        for row in session.exec(select(Secret)):
            decrypted(MultiFernet([Fernet(key)]), row)
    return len(rows)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    with (settings.root / "secret.key.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise ConflictError("The key is being changed by another process. Wait until that is done.") from exc
        yield


def _write_keys(settings: Settings, keys: list[str]) -> None:
    """Whole or not at all, and readable to its owner alone."""
    part = settings.root / "secret.key.part"
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write("\n".join(keys))
        file.flush()
        os.fsync(file.fileno())
    part.replace(settings.root / "secret.key")
