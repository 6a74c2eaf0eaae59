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
from app.domain.users import throttle
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


def password_of(session: Session, name: str, address: str) -> tuple[int, str]:
    """Number and hash of the account somebody wants to sign in by; 0 and "" when there is none or it is closed.

    It counts as a failure until `signed_in`. Raises `TooManyError`.
    """
    throttle.attempt(session, name, address)
    user = find(session, name)
    return (user.id or 0, user.password_hash) if user and not user.disabled_at else (0, "")


def signed_in(
    session: Session, user_id: int, stored: str, name: str, address: str, better_hash: str | None
) -> User | None:
    """The password was that of `stored`; None when the account was closed, or got another one, in the meantime."""
    user = session.get(User, user_id, with_for_update=True, populate_existing=True)
    if user is None or user.disabled_at or user.password_hash != stored:
        return None
    if better_hash:
        user.password_hash = better_hash
    throttle.succeeded(session, name, address)
    return user


def set_password(session: Session, user: User, password_hash: str, *, tokens_too: bool) -> None:
    """Give it a password; whoever is signed in by it must sign in again. `tokens_too`: its tokens are revoked."""
    user.password_hash = password_hash
    session.execute(sa.delete(SignedIn).where(col(SignedIn.user_id) == user.id))
    if tokens_too:
        session.execute(sa.delete(ApiToken).where(col(ApiToken.user_id) == user.id))
    session.execute(sa.delete(OneTimeLink).where(col(OneTimeLink.user_id) == user.id))
    session.flush()


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
    # Locked, in one order: two who shut each other out at once must take turns.
    able = session.exec(_administrators().order_by(col(User.id)).with_for_update()).all()
    session.refresh(user)
    if user.role == Role.ADMINISTRATOR and not [each for each in able if each.id != user.id]:
        raise ConflictError("This is the last administrator. Make somebody else one first.")


def adopt(session: Session, user: User) -> None:
    """What was made before there were accounts becomes theirs."""
    for table in (Dataset, Job):
        statement = sa.update(table).where(table.owner_id.is_(None)).values(owner_id=user.id)  # type: ignore[union-attr]
        session.execute(everybody(statement.execution_options(synchronize_session=False)))
