"""Accounts: made by an administrator or by the first link, opened by a password. Callers commit."""

from __future__ import annotations

import re

import sqlalchemy as sa
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from app.core.db import utcnow
from app.domain.datasets.models import Dataset
from app.domain.errors import ConflictError, InvalidError, NotFoundError
from app.domain.jobs.models import Job
from app.domain.users import passwords, throttle
from app.domain.users.access import Role
from app.domain.users.models import ApiToken, OneTimeLink, SignedIn, User
from app.domain.users.scoping import everybody

_NAME = re.compile(r"[^\s\x00-\x1f\x7f<>\"'`](?:[^\x00-\x1f\x7f<>\"`]{0,98}[^\s\x00-\x1f\x7f<>\"`])?")


def key_of(name: str) -> str:
    """A name as it is compared."""
    return name.strip().casefold()


def create(session: Session, name: str, role: Role) -> User:
    """An account without a password yet. Raises `InvalidError`."""
    name = " ".join(name.split())
    if not _NAME.fullmatch(name):
        raise InvalidError("Give a name or an e-mail address of at most 100 characters.", field="name")
    if find(session, name) is not None:
        raise InvalidError(f"There is an account “{name}” already.", field="name")
    user = User(name=name, key=key_of(name), role=role)
    session.add(user)
    session.flush()
    return user


def find(session: Session, name: str) -> User | None:
    """The account of this name, whatever its letters' case."""
    return session.exec(select(User).where(User.key == key_of(name))).first()


def get(session: Session, user_id: int) -> User:
    """Raises `NotFoundError`."""
    user = session.get(User, user_id)
    if user is None:
        raise NotFoundError(f"There is no account {user_id}.")
    return user


def list_users(session: Session) -> list[User]:
    """Everybody, by name."""
    return list(session.exec(select(User).order_by(col(User.key))))


def names(session: Session, user_ids: set[int]) -> dict[int, str]:
    """id -> name; one query."""
    query = sa.select(col(User.id), col(User.name)).where(col(User.id).in_(user_ids))
    return {key: value for key, value in session.execute(query)}


def has_administrator(session: Session) -> bool:
    """Whether somebody can come in who may do everything."""
    return session.exec(_administrators().limit(1)).first() is not None


def _administrators() -> SelectOfScalar[User]:
    able = (User.password_hash != "", col(User.disabled_at).is_(None))
    return select(User).where(User.role == Role.ADMINISTRATOR, *able)


def sign_in(session: Session, name: str, password: str, address: str) -> User | None:
    """The account, if the password is its own. Raises `TooManyError`. Commit either way: failures are counted."""
    throttle.check(session, name, address)
    user = find(session, name)
    found, better = passwords.matches(password, user.password_hash if user else "")
    if user is None or not found or user.disabled_at is not None:
        throttle.failed(session, name, address)
        return None
    if better:
        user.password_hash = better
    throttle.succeeded(session, name, address)
    return user


def set_password(session: Session, user: User, password: str) -> None:
    """Give it a password; whoever is signed in by it must sign in again. Raises `InvalidError`."""
    passwords.check_new(password, user.name)
    user.password_hash = passwords.hashed(password)
    session.execute(sa.delete(SignedIn).where(col(SignedIn.user_id) == user.id))
    session.execute(sa.delete(OneTimeLink).where(col(OneTimeLink.user_id) == user.id))
    session.flush()


def change_password(session: Session, user: User, old: str, new: str, address: str) -> None:
    """For who knows the old one. Raises `InvalidError`, `TooManyError`."""
    throttle.check(session, user.name, address)
    if not passwords.matches(old, user.password_hash)[0]:
        raise InvalidError("This is not your present password.", field="old_password")
    set_password(session, user, new)


def set_role(session: Session, user: User, role: Role) -> None:
    """Raises `ConflictError` for the last administrator."""
    if role is not Role.ADMINISTRATOR:
        _not_the_last(session, user)
    user.role = role
    session.flush()


def disable(session: Session, user: User) -> None:
    """Nobody gets in by it any more; what it owns stays. Raises `ConflictError` for the last administrator."""
    _not_the_last(session, user)
    user.disabled_at = utcnow()
    for table in (SignedIn, ApiToken, OneTimeLink):
        session.execute(sa.delete(table).where(table.user_id == user.id))  # type: ignore[arg-type]
    session.flush()


def enable(session: Session, user: User) -> None:
    """Let it in again, by the password it had."""
    user.disabled_at = None
    session.flush()


def _not_the_last(session: Session, user: User) -> None:
    others = _administrators().where(User.id != user.id)
    if user.role == Role.ADMINISTRATOR and session.exec(others.limit(1)).first() is None:
        raise ConflictError("This is the last administrator. Make somebody else one first.")


def adopt(session: Session, user: User) -> None:
    """What was made before there were accounts becomes theirs."""
    for table in (Dataset, Job):
        statement = sa.update(table).where(table.owner_id.is_(None)).values(owner_id=user.id)  # type: ignore[union-attr]
        session.execute(everybody(statement.execution_options(synchronize_session=False)))
