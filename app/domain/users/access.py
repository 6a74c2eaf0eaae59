"""Who acts, and what a role may do. Pure: no table, no database."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Role(StrEnum):
    """From the least to the most."""

    #: Reads what is shared.
    VIEWER = "viewer"
    #: Makes data sets and jobs, and changes their own.
    MEMBER = "member"
    #: Sees and changes everything, and decides who comes in.
    ADMINISTRATOR = "administrator"


class Scope(StrEnum):
    """What a token for scripts may do, within its owner's role. Each holds those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


_SCOPES = tuple(Scope)
_ROLES = tuple(Role)


@dataclass(frozen=True)
class Actor:
    """Who a request comes from.

    `via` local: the one person of a loopback installation, who has no account; command: whoever sits at the machine.
    """

    user_id: int | None
    name: str
    role: Role
    via: Literal["local", "session", "token", "command"] = "session"
    #: Of the token, if one was used.
    scope: Scope = Scope.ADMIN
    #: Number of the row in `signed_in`, where a browser is signed in.
    session_id: int | None = None

    def has(self, role: Role) -> bool:
        """Whether the role, and the token if one is used, reach as far as `role`."""
        if role is Role.ADMINISTRATOR and self.scope is not Scope.ADMIN:
            return False
        if role is Role.MEMBER and not self.writes:
            return False
        return _ROLES.index(self.role) >= _ROLES.index(role)

    @property
    def writes(self) -> bool:
        """Whether the token, if one is used, may change anything."""
        return _SCOPES.index(self.scope) >= _SCOPES.index(Scope.WRITE)

    @property
    def sees_all(self) -> bool:
        """Whether what others keep to themselves is shown."""
        return self.role is Role.ADMINISTRATOR and self.scope is Scope.ADMIN

    def sees(self, owner_id: int | None, *, shared: bool) -> bool:
        """Whether what belongs to `owner_id` is shown."""
        return self.sees_all or shared or (owner_id is not None and owner_id == self.user_id)

    def owns(self, owner_id: int | None) -> bool:
        """Whether what belongs to `owner_id` may be changed."""
        if not self.has(Role.MEMBER):
            return False
        return self.has(Role.ADMINISTRATOR) or (owner_id is not None and owner_id == self.user_id)


LOCAL = Actor(None, "this machine", Role.ADMINISTRATOR, via="local")
