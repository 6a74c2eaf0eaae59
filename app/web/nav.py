"""The rail: where you are, and how many things run now."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col

from app.domain.jobs.models import Job
from app.domain.jobs.states import LEASED, JobKind

PLACES = ("datasets", "jobs", "models", "workers", "settings", "account")
#: Pages without a place of their own.
_BELONGS = {"storage": "settings", "compare": "jobs", "sweeps": "jobs"}
#: What a running job of each kind counts for in the rail.
_COUNTED = {JobKind.TRAIN: "jobs", JobKind.INTAKE: "datasets", JobKind.EXPORT: "models", JobKind.PUSH: "models"}


def nav_of(session: Session, path: str) -> dict[str, Any]:
    """The rail for the page at `path`: one query."""
    first = path.strip("/").split("/")[0]
    first = _BELONGS.get(first, first)
    current = first if first in PLACES else "home" if not first else ""
    return {"current": current, "counts": _running(session)}


def _running(session: Session) -> dict[str, int]:
    query = (
        sa.select(col(Job.kind), sa.func.count())
        .where(col(Job.state).in_(list(LEASED)), col(Job.deleted_at).is_(None))
        .group_by(col(Job.kind))
    )
    counts: dict[str, int] = {}
    for kind, count in session.execute(query):
        place = _COUNTED.get(JobKind(kind))
        if place:
            counts[place] = counts.get(place, 0) + count
    return counts
