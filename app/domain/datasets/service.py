"""Data sets: made by an upload, understood by an intake job, looked at by audits. Callers commit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.core.db import utcnow
from app.core.live import Bells
from app.core.storage import LocalStorage
from app.domain.datasets.formats import NOT_TRAINED, Row
from app.domain.datasets.models import Dataset, DatasetProblem, DatasetState
from app.domain.datasets.row_file import some_lines
from app.domain.errors import ConflictError, InvalidError, NotFoundError
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Job
from app.domain.jobs.owners import cancel_borrowed, uses
from app.domain.jobs.states import LIVE, JobKind
from app.domain.users.scoping import actor_of


def create_from_upload(
    session: Session,
    bells: Bells,
    *,
    name: str,
    filename: str,
    size: int,
    sha256: str,
    source_key: str,
    then_train: dict[str, Any] | None = None,
) -> Dataset:
    """A new data set, whose intake job is queued. `then_train` (name, config) is launched when it is ready."""
    if size == 0:
        raise InvalidError("The file is empty. Choose a .jsonl file with at least one row.", field="file")
    dataset = Dataset(name=name.strip() or filename, filename=filename, size=size, sha256=sha256, source_key=source_key)
    actor = actor_of(session)
    dataset.owner_id = actor.user_id if actor else None
    session.add(dataset)
    session.flush()
    config = {"then_train": then_train} if then_train else {}
    jobs.enqueue(session, bells, kind=JobKind.INTAKE, subject_id=dataset.id or 0, name=dataset.name, config=config)
    return dataset


def find_by_hash(session: Session, sha256: str) -> Dataset | None:
    """A living data set with the very same bytes."""
    query = select(Dataset).where(Dataset.sha256 == sha256, col(Dataset.deleted_at).is_(None))
    return session.exec(query.order_by(col(Dataset.id).desc())).first()


def get_dataset(session: Session, dataset_id: int) -> Dataset:
    """The data set. Raises `NotFoundError`."""
    dataset, actor = session.get(Dataset, dataset_id), actor_of(session)
    seen = dataset is not None and (actor is None or actor.sees(dataset.owner_id, shared=dataset.shared))
    if dataset is None or not seen or dataset.deleted_at is not None:
        raise NotFoundError(f"There is no data set {dataset_id}. It may have been deleted.")
    return dataset


def list_datasets(session: Session) -> list[Dataset]:
    """All data sets, newest first."""
    query = select(Dataset).where(col(Dataset.deleted_at).is_(None)).order_by(col(Dataset.id).desc())
    return list(session.exec(query))


def family(session: Session, dataset: Dataset) -> list[Dataset]:
    """All versions that are still there, newest first."""
    query = select(Dataset).where(of_family(dataset), col(Dataset.deleted_at).is_(None))
    return list(session.exec(query.order_by(col(Dataset.version).desc())))


def of_family(dataset: Dataset) -> sa.ColumnElement[bool]:
    """Versions of the same."""
    return sa.or_(col(Dataset.id) == dataset.family, col(Dataset.family_id) == dataset.family)


def problems(
    session: Session, dataset_id: int, limit: int = 100, offset: int = 0, code: str = ""
) -> list[DatasetProblem]:
    """Rows that could not be read, by line number; with `code` those of one kind."""
    query = select(DatasetProblem).where(DatasetProblem.dataset_id == dataset_id)
    if code:
        query = query.where(DatasetProblem.code == code)
    ordered = query.order_by(col(DatasetProblem.line), col(DatasetProblem.id))
    return list(session.exec(ordered.limit(limit).offset(offset)))


def accept_good_rows(session: Session, dataset_id: int) -> None:
    """Go on without the rows that could not be read."""
    dataset = get_dataset(session, dataset_id)
    if dataset.state != DatasetState.NEEDS_CHOICE:
        raise ConflictError("There is nothing to decide about this data set.")
    dataset.good_rows_accepted = True
    dataset.state = _settled(dataset.format)
    session.flush()


def rename(session: Session, dataset_id: int, name: str) -> None:
    """Give it, and all its versions, another name."""
    if not name.strip():
        raise InvalidError("Give the data set a name.", field="name")
    for each in family(session, get_dataset(session, dataset_id)):
        each.name = name.strip()[:200]
    session.flush()


def delete_dataset(session: Session, bells: Bells, dataset_id: int) -> None:
    """Hide it. Refused while a job that needs its rows is alive. Its bytes go with the jobs that hold them."""
    dataset = get_dataset(session, dataset_id)
    refuse_if_used(session, dataset_id)
    cancel_borrowed(session, bells, dataset_id, dataset.owner_id)
    for job in jobs.list_jobs(session, kinds=(JobKind.INTAKE, JobKind.AUDIT), subject_id=dataset_id, limit=1000):
        jobs.delete(session, bells, job.id or 0)
    dataset.deleted_at = utcnow()
    session.flush()


def trainings(session: Session, dataset_id: int, limit: int = 10) -> list[Job]:
    """Those that learn from it or look at their loss on it, newest first."""
    query = select(Job).where(uses(dataset_id), col(Job.deleted_at).is_(None))
    return list(session.exec(query.order_by(col(Job.id).desc()).limit(limit)))


def refuse_if_used(session: Session, dataset_id: int) -> None:
    """Raises `ConflictError` while a training that is not over reads its rows: one that the person may see."""
    live = (col(Job.state).in_(list(LIVE)), col(Job.deleted_at).is_(None))
    used = session.exec(select(Job).where(uses(dataset_id), *live).limit(1)).first()
    if used is not None:
        raise ConflictError(f"“{used.name}” is using this data set. Cancel that job first, or wait until it ends.")
    child = (col(Dataset.parent_id) == dataset_id, Dataset.state == DatasetState.CHECKING)
    if session.exec(select(Dataset).where(*child, col(Dataset.deleted_at).is_(None)).limit(1)).first() is not None:
        raise ConflictError("A version is being made out of this one. Wait until it is ready, or delete it first.")


def share(session: Session, bells: Bells, dataset_id: int, *, shared: bool) -> None:
    """Let everybody see it in all versions, or nobody but its owner: what others train on it is cancelled then."""
    for dataset in family(session, get_dataset(session, dataset_id)):
        dataset.shared = shared
        if not shared:
            cancel_borrowed(session, bells, dataset.id or 0, dataset.owner_id)
        light = (col(Job.kind).in_([JobKind.INTAKE, JobKind.AUDIT]), col(Job.subject_id) == dataset.id)
        session.execute(sa.update(Job).where(*light).values(shared=shared))
    session.flush()


_FORGOTTEN = select(Dataset).where(col(Dataset.deleted_at).is_not(None), Dataset.source_key != "")


def forgotten_sources(session: Session) -> list[Dataset]:
    """Deleted data sets whose uploaded file is still there and read by no intake."""
    found = session.exec(_FORGOTTEN.limit(20)).all()
    return [dataset for dataset in found if not _is_read(session, dataset)]


def _is_read(session: Session, dataset: Dataset) -> bool:
    return bool(jobs.list_jobs(session, kinds=(JobKind.INTAKE,), states=LIVE, subject_id=dataset.id, limit=1))


def shares_source(session: Session, dataset: Dataset) -> bool:
    """Another version, which is still there, was read from the very same bytes."""
    others = (Dataset.source_key == dataset.source_key, col(Dataset.deleted_at).is_(None), Dataset.id != dataset.id)
    return session.exec(select(Dataset.id).where(*others).limit(1)).first() is not None


def forget_source(session: Session, dataset_id: int) -> None:
    """The uploaded file is removed; the row stays, for trainings name it."""
    session.get_one(Dataset, dataset_id).source_key = ""
    session.flush()


def known_sources(session: Session) -> set[str]:
    """Keys of all uploaded files."""
    return set(session.exec(select(Dataset.source_key).where(Dataset.source_key != "")))


def preview_rows(storage: LocalStorage, dataset: Dataset, start: int = 0, count: int = 20) -> list[Row]:
    """`count` canonical rows from number `start` (0-based) on; fewer where they are huge."""
    if not dataset.rows_key:
        return []
    return [msgspec.json.decode(line) for line in some_lines(storage.ensure(dataset.rows_key), start, count)]


def store_problem(session: Session, dataset_id: int, problem: dict[str, Any]) -> None:
    """Keep a problem an intake found."""
    session.add(DatasetProblem(dataset_id=dataset_id, **problem))


def store_intake(session: Session, dataset_id: int, rows_key: str, payload: dict[str, Any]) -> None:
    """What an intake found out, once it is through."""
    dataset = session.get_one(Dataset, dataset_id)
    dataset.format = payload["format"]
    dataset.mapping = payload["mapping"]
    dataset.row_count = payload["rows"]
    dataset.problem_count = payload["problems"]
    dataset.stats = payload["stats"]
    if version := payload.get("version"):
        dataset.changes, dataset.size, dataset.sha256 = version["changes"], version["size"], version["sha256"]
    if not payload["rows"]:
        dataset.state, dataset.error = DatasetState.FAILED, payload["error"]
        return
    dataset.rows_key = rows_key
    dataset.state = DatasetState.NEEDS_CHOICE if payload["problems"] else _settled(dataset.format)
    session.flush()


def _settled(kind: str) -> DatasetState:
    return DatasetState.KEPT if kind in NOT_TRAINED else DatasetState.READY


def clear_intake(session: Session, dataset_id: int) -> None:
    """Forget what an earlier attempt of the intake stored."""
    session.execute(sa.delete(DatasetProblem).where(col(DatasetProblem.dataset_id) == dataset_id))


def store_failure(session: Session, dataset_id: int, message: str) -> None:
    """The file can't be used at all."""
    dataset = session.get_one(Dataset, dataset_id)
    dataset.state, dataset.error = DatasetState.FAILED, message
    session.flush()


def names(session: Session, dataset_ids: Iterable[int]) -> dict[int, str]:
    """id -> title, deleted ones too: a job's page still says what it was trained on. One query."""
    found = session.exec(select(Dataset).where(col(Dataset.id).in_(set(dataset_ids))))
    return {dataset.id or 0: dataset.title for dataset in found}
