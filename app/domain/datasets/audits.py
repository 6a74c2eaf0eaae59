"""Audits asked for and found again: the same question is never computed twice, a stale answer never shown.

The question is the rows, the model with its tokenizer's files, and the split. The longest length is no part of it: what
any length cuts is told exactly from the lengths that a report keeps. Callers commit.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from sqlmodel import Session

from app.core.live import Bells
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.datasets.service import get_dataset
from app.domain.datasets.split import Split
from app.domain.errors import ConflictError
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Job
from app.domain.jobs.states import JobKind, JobState

#: Raised when audits begin to count otherwise: reports of an older number are asked for again.
VERSION = 2
#: Rows that one job brings into tokens to be looked at.
ROWS_AT_ONCE = 10
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


def request_audit(
    session: Session, bells: Bells, dataset_id: int, base_model: str, revision: str = "", split: Split | None = None
) -> Job:
    """The audit of a data set for a model: the one that is there, or a new job."""
    dataset = get_dataset(session, dataset_id)
    if dataset.state != DatasetState.READY:
        raise ConflictError("The data set is not ready yet.")
    known = find_audit(session, dataset_id, base_model, revision, split)
    if known is not None and known.state not in (JobState.FAILED, JobState.CANCELLED):
        return known
    config = _question(session, dataset, base_model, revision, split or Split())
    name = f"{dataset.name} · {base_model}"
    return jobs.enqueue(session, bells, kind=JobKind.AUDIT, subject_id=dataset_id, name=name, config=config)


def find_audit(
    session: Session, dataset_id: int, base_model: str, revision: str = "", split: Split | None = None
) -> Job | None:
    """The newest audit that answers this very question."""
    dataset = get_dataset(session, dataset_id)
    config = _question(session, dataset, base_model, revision, split or Split())
    return next((job for job in _audits(session, dataset_id) if job.config == config), None)


def list_audits(session: Session, dataset: Dataset, limit: int = 20) -> list[Job]:
    """The newest audits of the rows as they are, one for each model."""
    found: dict[tuple[str, str], Job] = {}
    for job in _audits(session, dataset.id or 0):
        base_model, revision = str(job.config.get("base_model", "")), str(job.config.get("revision", ""))
        expected = _question(session, dataset, base_model, revision, Split())
        if all(job.config.get(key) == expected[key] for key in ("version", "rows", "tokenizer")):
            found.setdefault((base_model, revision), job)
    return list(found.values())[:limit]


def request_rows(
    session: Session, bells: Bells, dataset_id: int, base_model: str, number: int, revision: str = ""
) -> Job:
    """The job that shows row `number` (from 1 on) and its neighbours in tokens: the one that is there, or a new one."""
    dataset = get_dataset(session, dataset_id)
    if dataset.state != DatasetState.READY or not 1 <= number <= dataset.row_count:
        raise ConflictError("There is no such row, or the data set is not ready yet.")
    known = find_rows(session, dataset, base_model, number, revision)
    if known is not None and known.state not in (JobState.FAILED, JobState.CANCELLED):
        return known
    name = f"{dataset.name} · row {number} · {base_model}"
    config = _rows_question(session, dataset, base_model, number, revision)
    return jobs.enqueue(session, bells, kind=JobKind.AUDIT, subject_id=dataset_id, name=name, config=config)


def find_rows(session: Session, dataset: Dataset, base_model: str, number: int, revision: str = "") -> Job | None:
    """The newest job that has row `number` in tokens."""
    config = _rows_question(session, dataset, base_model, number, revision)
    found = jobs.list_jobs(session, kinds=(JobKind.AUDIT,), subject_id=dataset.id, limit=500)
    return next((job for job in found if job.config == config), None)


def _rows_question(session: Session, dataset: Dataset, base_model: str, number: int, revision: str) -> dict[str, Any]:
    first = (number - 1) // ROWS_AT_ONCE * ROWS_AT_ONCE
    return _question(session, dataset, base_model, revision, Split(fraction=0)) | {"rows_from": first}


def _audits(session: Session, dataset_id: int) -> list[Job]:
    found = jobs.list_jobs(session, kinds=(JobKind.AUDIT,), subject_id=dataset_id, limit=500)
    return [job for job in found if "rows_from" not in job.config]


def _question(session: Session, dataset: Dataset, base_model: str, revision: str, split: Split) -> dict[str, Any]:
    held = get_dataset(session, split.dataset_id) if split.dataset_id else None
    return {
        "version": VERSION,
        "base_model": base_model,
        "revision": revision,
        "rows": dataset.rows_key,
        "tokenizer": _stamp(base_model),
        "split": split.model_dump(exclude=set() if split.by_file else {"by_file"}),
        "held_out_rows": held.rows_key if held else "",
    }


def _stamp(base_model: str) -> str:
    """Tells whether the tokenizer of a local folder was changed. What comes from the Hub has its revision for that."""
    folder = Path(base_model)
    if not folder.is_absolute():
        return ""
    stats = [(name, path.stat()) for name in _TOKENIZER_FILES if (path := folder / name).is_file()]
    told = ";".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)
    return hashlib.sha256(told.encode()).hexdigest()[:16] if stats else ""
