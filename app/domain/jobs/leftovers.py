"""Where hosts share bytes on S3, each has working copies. This removes those of what another host has deleted."""

from __future__ import annotations

import time
from pathlib import Path

from sqlmodel import Session, col, select

from app.core.context import Context
from app.domain.datasets import service as datasets
from app.domain.jobs.models import Checkpoint, Job
from app.domain.jobs.states import FINAL

#: An upload lies in its place shortly before its row is there.
_YOUNG_SECONDS = 86_400
#: How the folder ends in which a file is fetched, beside the file's own place.
FETCHED_IN = ".part"


def remove(ctx: Context) -> None:
    """Remove this host's folders of jobs, checkpoints and uploads that no row knows any more. S3 is not touched."""
    runs, sources = _inside(ctx, "runs"), _inside(ctx, "datasets")
    with ctx.db.session() as session:
        gone = _unknown_runs(session, runs) + _unknown_sources(session, sources)
        gone += _unknown_checkpoints(ctx, session, runs)
    for key in gone:
        ctx.storage.discard(key)


def _inside(ctx: Context, key: str) -> list[Path]:
    folder = ctx.storage.path(key)
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _unknown_runs(session: Session, folders: list[Path]) -> list[str]:
    """The row of a job is there before its folder, and its number is given to no other."""
    numbers = {int(folder.name) for folder in folders if folder.name.isdecimal()}
    return [f"runs/{number}" for number in sorted(numbers - set(session.exec(select(col(Job.id)))))]


def _unknown_checkpoints(ctx: Context, session: Session, folders: list[Path]) -> list[str]:
    """Of jobs that have ended: while one runs here, a checkpoint lies in its place shortly before its row is there."""
    found = {folder.name: list(folder.glob("a*/checkpoints/checkpoint-*")) for folder in folders}
    numbers = [int(name) for name, there in found.items() if there and name.isdecimal()]
    ended = session.exec(select(col(Job.id)).where(col(Job.id).in_(numbers), col(Job.state).in_(list(FINAL))))
    there = {ctx.storage.key(folder) for number in ended for folder in found[str(number)]}
    named = set(session.exec(select(Checkpoint.storage_key)))
    return sorted(there - named)


def _unknown_sources(session: Session, files: list[Path]) -> list[str]:
    old = time.time() - _YOUNG_SECONDS
    keys = {f"datasets/{file.name}" for file in files if file.stat().st_mtime < old}
    known = datasets.known_sources(session)  # what is still being fetched lies in a folder beside its place
    return sorted(key for key in keys if key.removesuffix(FETCHED_IN) not in known)
