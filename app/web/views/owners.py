"""Whose something is, in words."""

from __future__ import annotations

from sqlmodel import Session

from app.core.context import Context
from app.domain.users import service
from app.domain.users.access import Actor
from app.web.render import translate as _


def owner_words(session: Session, ctx: Context, actor: Actor, owner_id: int | None, *, shared: bool) -> str:
    """Such as “yours, shared”; empty where there are no accounts."""
    if not ctx.settings.web.accounts:
        return ""
    if owner_id is not None and owner_id == actor.user_id:
        return _("yours, shared with everybody") if shared else _("yours alone")
    name = service.names(session, {owner_id}).get(owner_id, "") if owner_id else ""
    whose = _("of %(name)s", name=name) if name else _("of nobody")
    return _("%(whose)s, shared with everybody", whose=whose) if shared else _("%(whose)s, not shared", whose=whose)
