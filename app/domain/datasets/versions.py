"""Versions of a data set: rows that never change, each made out of another. Callers commit.

A version is a row in `dataset` like the file that was uploaded, so jobs, audits and rights need nothing more. What is
small is written at once; what is large is an intake of its own, which reads the parent's rows instead of a file.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col

from app.core.context import Context
from app.core.live import Bells
from app.core.storage import StorageError
from app.domain.datasets import service
from app.domain.datasets.changes import Applied, Changes, apply
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.datasets.refusals import FormatError
from app.domain.errors import ConflictError, InvalidError, NoSpaceError
from app.domain.jobs import service as jobs
from app.domain.jobs.states import JobKind
from app.domain.space.estimate import refuse_without_room
from app.domain.users.scoping import actor_of

#: Rows of at most so many bytes are written while a person waits.
AT_ONCE = 32_000_000
NOT_NOW = "Rows can be changed once the data set is ready."


@dataclass(frozen=True)
class Written:
    """The rows of a version that lie there already."""

    key: str
    applied: Applied


def can_change(dataset: Dataset) -> bool:
    """Whether versions can be made out of it."""
    return dataset.state == DatasetState.READY


def write(ctx: Context, parent: Dataset, changes: Changes) -> Written | None:
    """The rows of the new version, where they are few; None: it takes a job. No transaction is open meanwhile.

    Raises `ConflictError`, `InvalidError` when nothing would come of it, `NoSpaceError`.
    """
    if not can_change(parent):
        raise ConflictError(NOT_NOW)
    source = ctx.storage.ensure(parent.rows_key)
    if not source.is_file():
        raise ConflictError("The rows of this version are gone from the disk. Upload the file again.")
    size = source.stat().st_size
    refuse_without_room("The new version", size, ctx.storage.free_bytes())
    if size > AT_ONCE:
        return None
    key = f"datasets/rows-{secrets.token_hex(8)}.jsonl"
    try:
        with ctx.storage.make_parent(key).open("wb") as out:
            applied = apply(source, out, changes, parent.stats)
        ctx.storage.publish(key)
    except FormatError as exc:
        ctx.storage.discard(key)
        raise InvalidError(str(exc), field="rows") from exc
    except OSError as exc:
        ctx.storage.discard(key)
        raise NoSpaceError("The new version could not be written: the disk is full, or fails.") from exc
    except BaseException:
        discard(ctx, key)
        raise
    return Written(key, applied)


def discard(ctx: Context, key: str) -> None:
    """Rows that no version came to name."""
    ctx.storage.discard(key)
    with suppress(StorageError):
        ctx.storage.withdraw(key)


def enter(session: Session, bells: Bells, parent_id: int, changes: Changes, written: Written | None) -> Dataset:
    """The version as a row: ready, or with the job that is to write it."""
    parent = service.get_dataset(session, parent_id)
    if not can_change(parent):
        raise ConflictError(NOT_NOW)
    made = child_of(session, parent)
    made.sha256, made.changes = "", {"kind": changes.kind, "text": changes.text}
    session.add(made)
    session.flush()
    if written is None:
        config: dict[str, Any] = {"version_of": parent_id, "changes": changes.model_dump(mode="json")}
        jobs.enqueue(session, bells, kind=JobKind.INTAKE, subject_id=made.id or 0, name=made.title, config=config)
        return made
    store(made, written.applied.rows, written.applied.told(changes), written.applied.stats)
    made.source_key = made.rows_key = written.key
    made.size, made.sha256 = written.applied.size, written.applied.sha256
    made.state = DatasetState.READY
    session.flush()
    return made


def child_of(session: Session, parent: Dataset) -> Dataset:
    """A row for the next version, made out of `parent`; the first of them is held, so that no number is given twice."""
    session.execute(sa.select(col(Dataset.id)).where(col(Dataset.id) == parent.family).with_for_update())
    newest = sa.select(sa.func.max(col(Dataset.version))).where(service.of_family(parent))
    actor = actor_of(session)
    same = ("name", "filename", "format", "mapping", "size", "sha256", "owner_id", "shared")
    values = {name: getattr(parent, name) for name in same}
    return Dataset(
        **values,
        source_key="",
        parent_id=parent.id,
        family_id=parent.family,
        version=(session.execute(newest).scalar_one() or 1) + 1,
        made_by=actor.user_id if actor else None,
        row_count=parent.row_count,
    )


def store(made: Dataset, rows: int, told: dict[str, Any], stats: dict[str, Any]) -> None:
    """What came of the changes."""
    made.row_count, made.changes, made.stats = rows, told, stats


def newest_first(datasets: list[Dataset]) -> tuple[list[Dataset], list[Dataset]]:
    """The newest version of each data set, and the earlier ones, each newest first."""
    newest: dict[int, Dataset] = {}
    for dataset in sorted(datasets, key=lambda each: (-each.version, -(each.id or 0))):
        newest.setdefault(dataset.family, dataset)
    ordered = sorted(newest.values(), key=lambda each: -(each.id or 0))
    earlier = [each for each in datasets if newest[each.family] is not each]
    return ordered, earlier


def file_of(session: Session, dataset: Dataset) -> Dataset | None:
    """The version whose rows were read from the file that these come from; None when it is gone, or not here yet."""
    found: Dataset | None = dataset
    while found is not None and not found.is_read_from_file:
        found = session.get(Dataset, found.parent_id)
    is_here = found is not None and found.deleted_at is None and found.source_key and found.sha256
    return found if is_here else None
