"""Another way to read an uploaded file: chosen by a person, and carried out by one more intake. Callers commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session, col, select

from app.core.live import Bells
from app.domain.datasets.formats import FIELDS, FORMATS, Format
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.datasets.replacing import LONGEST, MOST_PAIRS
from app.domain.datasets.service import get_dataset
from app.domain.datasets.versions import child_of
from app.domain.errors import ConflictError, InvalidError
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Job
from app.domain.jobs.owners import uses
from app.domain.jobs.states import LIVE, JobKind
from app.domain.users.scoping import everybody


def checked_format(kind: str) -> Format:
    """One that is known. Raises `InvalidError`."""
    found = next((each for each in FORMATS if each == kind), None)
    if found is None:
        raise InvalidError("Choose one of the formats.", field="format")
    return found


def checked_mapping(kind: Format, mapping: Mapping[str, str]) -> dict[str, str]:
    """The parts that this format has, each with its column. Raises `InvalidError` when one is missing that it needs."""
    found = {field.name: mapping[field.name][:500] for field in FIELDS[kind] if mapping.get(field.name)}
    missing = [field.name for field in FIELDS[kind] if field.needed and field.name not in found]
    if missing:
        raise InvalidError(f"Say which column holds the {missing[0]}.", field="column")
    return found


def checked_pairs(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those that put something in place of something. Raises `InvalidError`: too many, or too long."""
    found = [(what, by) for what, by in pairs if what and by]
    if len(found) > MOST_PAIRS or any(len(text) > LONGEST for pair in found for text in pair):
        raise InvalidError(f"At most {MOST_PAIRS} texts of {LONGEST} characters can be replaced.", field="find")
    return found


def read_again(
    session: Session,
    bells: Bells,
    dataset_id: int,
    kind: Format,
    mapping: Mapping[str, str],
    pairs: Sequence[tuple[str, str]],
) -> Job:
    """Queue an intake that reads the file so.

    What was read before goes, and with it the audits of it; where something was made of it, it stays, and what is
    read now is a version of its own.
    """
    dataset = get_dataset(session, dataset_id)
    if not dataset.is_read_from_file:
        raise ConflictError("This version was made out of another one's rows. Choose how version 1 is read.")
    if not dataset.source_key:
        raise ConflictError("The uploaded file is gone. Upload it again.")
    if dataset.origin and not dataset.sha256:
        raise ConflictError("The file is not here yet. Wait until it has been fetched, or fetch it again.")
    config: dict[str, Any] = {
        "format": kind,
        "mapping": checked_mapping(kind, mapping),
        "replace": [list(pair) for pair in checked_pairs(pairs)],
    }
    if _is_used(session, dataset_id):
        dataset = _version_of(session, dataset)
    else:
        for job in jobs.list_jobs(session, kinds=(JobKind.INTAKE, JobKind.AUDIT), subject_id=dataset_id, limit=1000):
            jobs.delete(session, bells, job.id or 0)
        dataset.state, dataset.error, dataset.rows_key = DatasetState.CHECKING, "", ""
        dataset.good_rows_accepted = False
    number = dataset.id or 0
    return jobs.enqueue(session, bells, kind=JobKind.INTAKE, subject_id=number, name=dataset.title, config=config)


def _is_used(session: Session, dataset_id: int) -> bool:
    """A training, whoever's, names these rows, or a version was made out of them."""
    trained = select(Job.id).where(uses(dataset_id), col(Job.deleted_at).is_(None))
    child = select(Dataset.id).where(Dataset.parent_id == dataset_id, col(Dataset.deleted_at).is_(None))
    return any(session.exec(everybody(query.limit(1))).first() is not None for query in (trained, child))


def _version_of(session: Session, dataset: Dataset) -> Dataset:
    made = child_of(session, dataset)
    made.source_key, made.changes, made.row_count = dataset.source_key, {"kind": "reread"}, 0
    session.add(made)
    session.flush()
    return made


def newest_intake(session: Session, dataset_id: int) -> Job | None:
    """The job that read it last."""
    return next(iter(jobs.list_jobs(session, kinds=(JobKind.INTAKE,), subject_id=dataset_id, limit=1)), None)


def is_being_read(intake: Job | None) -> bool:
    """Its outcome is still to come."""
    return intake is not None and intake.job_state in LIVE
