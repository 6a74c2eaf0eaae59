"""Whose code may run on the workers: a model, at a commit, and nothing else of its author's. Callers commit."""

from __future__ import annotations

from pydantic import ValidationError
from sqlmodel import Session

from app.domain.errors import InvalidError
from app.domain.preferences import service as preferences
from app.domain.preferences.service import Allowance, ForeignCode


def allowances(session: Session) -> tuple[Allowance, ...]:
    """What is allowed now, by name."""
    return preferences.read(session, ForeignCode).allowed


def allow(session: Session, model: str, commit: str) -> None:
    """Let `model` bring its code at `commit`. Raises `InvalidError` whose `errors` name what is wrong."""
    said = {
        "model": "Name the model as the Hub writes it, owner/name.",
        "commit": "Enter the whole hash of a commit: 40 characters, 0 to 9 and a to f. A branch can change.",
    }
    try:
        added = Allowance(model=model, commit=commit)
    except ValidationError as exc:
        wrong = {str(error["loc"][0]) for error in exc.errors()}
        errors = {name: said[name] for name in said if name in wrong}
        raise InvalidError("This can't be allowed.", errors=errors) from exc
    kept = {(one.model, one.commit): one for one in (*allowances(session), added)}
    _keep(session, *(kept[key] for key in sorted(kept)))


def withdraw(session: Session, model: str, commit: str) -> None:
    """It counts no more from the next job on; nothing happens where it never was allowed."""
    _keep(session, *(one for one in allowances(session) if (one.model, one.commit) != (model, commit)))


def _keep(session: Session, *allowed: Allowance) -> None:
    preferences.write(session, ForeignCode(allowed=allowed))


def code_at(session: Session, model: str, revision: str) -> str:
    """`revision`, when it is a commit at which `model` may bring its code; else an empty string."""
    return revision if any((one.model, one.commit) == (model, revision) for one in allowances(session)) else ""


def refusal(session: Session, model: str, revision: str) -> str:
    """Why a job must not start at this revision: its code is allowed, but at another. Else an empty string."""
    commits = [one.commit for one in allowances(session) if one.model == model]
    if not commits or revision in commits:
        return ""
    return f"The code of {model} is allowed at the commit {' or '.join(commits)} alone. Enter that as the revision."
