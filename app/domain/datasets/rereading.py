"""Another way to read an uploaded file: chosen by a person, and carried out by one more intake. Callers commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session

from app.core.live import Bells
from app.domain.datasets.formats import FIELDS, FORMATS, Format
from app.domain.datasets.models import DatasetState
from app.domain.datasets.replacing import LONGEST, MOST_PAIRS
from app.domain.datasets.service import get_dataset, refuse_if_used
from app.domain.errors import ConflictError, InvalidError
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Job
from app.domain.jobs.states import LIVE, JobKind


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
    """Queue an intake that reads the file so. What was read before goes, and with it the audits of it."""
    dataset = get_dataset(session, dataset_id)
    if not dataset.source_key:
        raise ConflictError("The uploaded file is gone. Upload it again.")
    refuse_if_used(session, dataset_id)
    config: dict[str, Any] = {
        "format": kind,
        "mapping": checked_mapping(kind, mapping),
        "replace": [list(pair) for pair in checked_pairs(pairs)],
    }
    for job in jobs.list_jobs(session, kinds=(JobKind.INTAKE, JobKind.AUDIT), subject_id=dataset_id, limit=1000):
        jobs.delete(session, bells, job.id or 0)
    dataset.state, dataset.error, dataset.rows_key = DatasetState.CHECKING, "", ""
    dataset.good_rows_accepted = False
    return jobs.enqueue(session, bells, kind=JobKind.INTAKE, subject_id=dataset_id, name=dataset.name, config=config)


def newest_intake(session: Session, dataset_id: int) -> Job | None:
    """The job that read it last."""
    return next(iter(jobs.list_jobs(session, kinds=(JobKind.INTAKE,), subject_id=dataset_id, limit=1)), None)


def is_being_read(intake: Job | None) -> bool:
    """Its outcome is still to come."""
    return intake is not None and intake.job_state in LIVE
