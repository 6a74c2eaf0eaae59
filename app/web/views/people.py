"""Accounts, browsers and tokens as their pages show them."""

from __future__ import annotations

import re
from typing import Any

from app.domain.trail.models import AuditEntry
from app.domain.users.access import Actor, Role, Scope
from app.domain.users.models import ApiToken, SignedIn, User
from app.web.render import translate as _
from app.web.render import translate_many as _n

_BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("Mac OS", "macOS"))


def role_words() -> dict[Role, tuple[str, str]]:
    """Each role with what it may do."""
    return {
        Role.VIEWER: (_("Viewer"), _("looks at what others share; changes nothing.")),
        Role.MEMBER: (_("Member"), _("uploads data and trains; sees their own and what others share.")),
        Role.ADMINISTRATOR: (
            _("Administrator"),
            _("sees and changes everything, also what others keep to themselves, and decides who comes in."),
        ),
    }


def scopes(actor: Actor) -> list[dict[str, str]]:
    """What a token may do; the last only for administrators."""
    found = [
        {"value": Scope.READ, "label": _("Read"), "help": _("Sees what you see; changes nothing.")},
        {"value": Scope.WRITE, "label": _("Read and write"), "help": _("Also starts jobs, and changes what is yours.")},
    ]
    if actor.has(Role.ADMINISTRATOR):
        said = _("Also sees what others keep to themselves, and holds queues and drains workers.")
        found.append({"value": Scope.ADMIN, "label": _("Everything"), "help": said})
    return found


def lifetimes() -> list[tuple[str, str]]:
    """How long a token may be good for."""
    days = [(str(number), _n("%(n)s day", "%(n)s days", number)) for number in (30, 90, 365)]
    return [*days, ("0", _("until it is revoked"))]


def token_row(token: ApiToken) -> dict[str, Any]:
    """A token: never more of it than its prefix."""
    words = {Scope.READ: _("read"), Scope.WRITE: _("read and write"), Scope.ADMIN: _("everything")}
    return {"row": token, "shown": f"td_{token.prefix}_…", "scope": words[Scope(token.scope)]}


def browser_row(row: SignedIn, present: int | None) -> dict[str, Any]:
    """Where somebody is signed in, in a few words."""
    name = next((name for mark, name in _BROWSERS if mark in row.browser), _("a browser"))
    system = next((name for mark, name in _SYSTEMS if mark in row.browser), "Linux" if "Linux" in row.browser else "")
    words = _("%(browser)s on %(system)s", browser=name, system=system) if system else name
    return {"row": row, "words": words, "here": row.id == present}


def person_row(user: User, me: int | None, last: Any) -> dict[str, Any]:
    """An account in the list; `last`: when it was used last."""
    state = "closed" if user.disabled_at else "open" if user.password_hash else "invited"
    return {"row": user, "role": role_words()[Role(user.role)][0], "state": state, "me": user.id == me, "last": last}


def entry_row(entry: AuditEntry) -> dict[str, Any]:
    """A line of the audit log."""
    kind, _dot, what = entry.action.partition(".")
    ways = {"local": _("on this machine"), "session": "", "token": _("by a token"), "command": _("by a command")}
    return {
        "row": entry,
        "kind": kind,
        "what": re.sub(r"_", " ", what or kind),
        "way": ways.get(entry.via, ""),
        "refused": entry.outcome == "refused",
    }
