"""Tables of people: accounts, where they are signed in, tokens, links that are good once, sign-ins that failed."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Field, SQLModel

from app.core.db import utcnow
from app.domain.users.access import Role


class User(SQLModel, table=True):
    """An account. `name` is unique whatever its letters' case; an e-mail address may be one."""

    __tablename__ = "account"  # `user` is a word of SQL
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(default=None, primary_key=True)
    name: str
    #: `name` as it is compared.
    key: str = Field(unique=True)
    #: argon2id; empty until its one-time link was used.
    password_hash: str = ""
    role: str = Role.MEMBER
    created_at: datetime = Field(default_factory=utcnow)
    #: Set: nobody gets in by it any more. What it owns stays.
    disabled_at: datetime | None = None


class SignedIn(SQLModel, table=True):
    """A browser in which somebody is signed in. The cookie's value is not kept, only its SHA-256."""

    __tablename__ = "signed_in"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(unique=True)
    user_id: int = Field(foreign_key="account.id", index=True, ondelete="CASCADE")
    created_at: datetime = Field(default_factory=utcnow)
    last_used: datetime = Field(default_factory=utcnow)
    expires_at: datetime
    address: str = ""
    browser: str = ""


class ApiToken(SQLModel, table=True):
    """A token for scripts: `td_<prefix>_<secret>`. The prefix finds the row, the digest of the whole must match."""

    __tablename__ = "api_token"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(default=None, primary_key=True)
    user_id: int = Field(foreign_key="account.id", index=True, ondelete="CASCADE")
    name: str
    prefix: str = Field(unique=True)
    digest: str
    #: read, write or admin: each holds those before it.
    scope: str
    created_at: datetime = Field(default_factory=utcnow)
    expires_at: datetime | None = None
    last_used: datetime | None = None


class OneTimeLink(SQLModel, table=True):
    """A link by which somebody sets a password: the first administrator's (no `user_id`), or one that was given."""

    __tablename__ = "one_time_link"

    digest: str = Field(primary_key=True)
    user_id: int | None = Field(default=None, foreign_key="account.id", ondelete="CASCADE")
    created_at: datetime = Field(default_factory=utcnow)
    expires_at: datetime


class FailedSignIn(SQLModel, table=True):
    """How often a name, or an address, failed to sign in lately, and until when it must wait."""

    __tablename__ = "failed_sign_in"

    key: str = Field(primary_key=True)
    count: int = 0
    last_at: datetime = Field(default_factory=utcnow)
    wait_until: datetime | None = Field(default=None)
