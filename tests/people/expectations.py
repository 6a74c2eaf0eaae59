"""Who may do what, in other words than those of the table that is tested."""

from __future__ import annotations

from app.domain.users.access import Role, Scope
from app.web.permissions import Need, Rule

OPEN, SIGN_IN, NO, NOTHING = "open", "sign in", "refused", "nothing there"


def expected(  # noqa: PLR0911 - one return for each way to be let in or not
    rule: Rule, role: Role | None, scope: Scope | None, method: str, *, mine: bool, shared: bool
) -> str:
    """In words of its own: who may, by role (None: nobody), token and ownership."""
    if rule.need is Need.NOTHING:
        return OPEN
    if role is None:
        return SIGN_IN
    personal = rule.need in {Need.IN_PERSON, Need.ADMINISTER_IN_PERSON}
    administers = role is Role.ADMINISTRATOR and scope in {None, Scope.ADMIN}
    if (scope is not None and personal) or (scope is Scope.READ and method != "GET"):
        return NO
    if rule.need in {Need.ADMINISTER, Need.ADMINISTER_IN_PERSON}:
        return OPEN if administers else NO
    if rule.need in {Need.MAKE, Need.CHANGE} and (role is Role.VIEWER or scope is Scope.READ):
        return NO
    if not rule.what or administers:
        return OPEN
    if not (mine or shared):
        return NOTHING
    return NO if rule.need is Need.CHANGE and not mine else OPEN
