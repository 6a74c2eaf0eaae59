"""Passwords: argon2id, by pwdlib with its recommended cost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from app.domain.errors import InvalidError, TooManyError

if TYPE_CHECKING:
    from pwdlib import PasswordHash

SHORTEST, LONGEST = 10, 200
_FEW = threading.BoundedSemaphore(4)
_PATIENCE_SECONDS = 10
#: A few that are tried first; length does the rest.
_USUAL = frozenset({"1234567890", "0123456789", "password123", "passwordpassword", "qwertyuiop", "administrator"})


@lru_cache
def _hasher() -> PasswordHash:
    from pwdlib import PasswordHash

    return PasswordHash.recommended()


def check_new(password: str, name: str) -> None:
    """Raises `InvalidError` for one that is easily guessed."""
    problem = ""
    if len(password) < SHORTEST:
        problem = f"Take at least {SHORTEST} characters; a few words are easy to remember and hard to guess."
    elif len(password) > LONGEST:
        problem = f"Take at most {LONGEST} characters."
    elif password.lower() in _USUAL or len(set(password)) < 4 or password.casefold() == name.casefold():
        problem = "This password is among the first that anyone would try. Take a few words instead."
    if problem:
        raise InvalidError(problem, field="password")


@contextmanager
def _one_of_few() -> Iterator[None]:
    """Each costs 64 MiB for a moment. Raises `TooManyError` when too many wait already."""
    if not _FEW.acquire(timeout=_PATIENCE_SECONDS):
        raise TooManyError("Too many people sign in at this moment. Try again.", retry_after=_PATIENCE_SECONDS)
    try:
        yield
    finally:
        _FEW.release()


def hashed(password: str) -> str:
    """To be stored. Slow on purpose: call it outside a transaction. Raises `TooManyError`."""
    with _one_of_few():
        return _hasher().hash(password)


@lru_cache
def _nobody() -> str:
    return _hasher().hash("nobody")


def matches(password: str, stored: str) -> tuple[bool, str | None]:
    """Whether it is the one, and a new hash if the stored one is weaker than today's. As slow for an empty `stored`.

    Call it outside a transaction. Raises `TooManyError`.
    """
    with _one_of_few():
        found, better = _hasher().verify_and_update(password[:LONGEST], stored or _nobody())
    return (found, better) if stored else (False, None)
