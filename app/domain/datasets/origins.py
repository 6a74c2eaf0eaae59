"""Data sets that are fetched: from the Hub, or from an address. The worker's intake does it. Callers commit."""

from __future__ import annotations

import secrets
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.core.live import Bells
from app.core.settings import Settings
from app.domain.datasets.addresses import refusal_of
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.datasets.service import get_dataset
from app.domain.errors import ConflictError, InvalidError
from app.domain.files.reading import stem
from app.domain.jobs import service as jobs
from app.domain.jobs.states import FINAL, JobKind
from app.domain.models.names import is_hub_id, is_revision
from app.domain.users.access import Role
from app.domain.users.scoping import actor_of

LONGEST_NAME = 200


def from_hub(
    session: Session, bells: Bells, settings: Settings, *, repo_id: str, config: str, split: str, revision: str
) -> Dataset:
    """A data set of the Hub, on its way. Raises `InvalidError`."""
    if settings.hub.offline:
        raise InvalidError("The Hub is never contacted here (TUNEDECK_HUB__OFFLINE). Upload a file.", field="repo_id")
    if not is_hub_id(repo_id):
        raise InvalidError("Name the data set as owner/name, such as ada/fortunes.", field="repo_id")
    if revision and not (is_revision(revision) or (revision.startswith("refs/") and is_revision(revision[5:]))):
        raise InvalidError("This can't be the name of a branch, a tag or a commit.", field="revision")
    if max(len(config), len(split)) > LONGEST_NAME:
        raise InvalidError("No configuration and no split has so long a name.", field="config")
    origin: dict[str, Any] = {"kind": "hub", "repo_id": repo_id, "config": config, "split": split, "revision": revision}
    origin["with_token"] = may_use_token(session, settings, repo_id)
    return _begin(session, bells, repo_id.partition("/")[2], repo_id, origin)


def from_url(session: Session, bells: Bells, settings: Settings, url: str) -> Dataset:
    """A file at an address, on its way. Raises `InvalidError`."""
    if refusal := refusal_of(url, settings.sources.url_hosts):
        raise InvalidError(refusal, field="source_url")
    filename = url.partition("?")[0].partition("#")[0].rstrip("/").rsplit("/", 1)[-1][:LONGEST_NAME]
    return _begin(session, bells, stem(filename), filename, {"kind": "url", "url": url})


def may_use_token(session: Session, settings: Settings, repo_id: str) -> bool:
    """The stored token is the house's: members fetch with it from the owners that are named for them."""
    actor = actor_of(session)
    if actor is None or actor.has(Role.ADMINISTRATOR):
        return True
    named = [name.casefold() for name in settings.hub.members_fetch_from]
    return repo_id.partition("/")[0].casefold() in named


def _begin(session: Session, bells: Bells, name: str, filename: str, origin: dict[str, Any]) -> Dataset:
    actor = actor_of(session)
    # Its place is fixed now: whichever attempt has the file whole puts it there.
    key = f"datasets/src-{secrets.token_hex(12)}"
    dataset = Dataset(name=name or filename, filename=filename, size=0, sha256="", source_key=key, origin=origin)
    dataset.owner_id = actor.user_id if actor else None
    session.add(dataset)
    session.flush()
    _enqueue(session, bells, dataset)
    return dataset


def _enqueue(session: Session, bells: Bells, dataset: Dataset) -> None:
    jobs.enqueue(session, bells, kind=JobKind.INTAKE, subject_id=dataset.id or 0, name=dataset.name, config={})


def choose_part(session: Session, bells: Bells, dataset_id: int, number: int) -> None:
    """Fetch this one of the parts that were found. Raises `ConflictError`, `InvalidError`."""
    dataset = get_dataset(session, dataset_id)
    parts = dataset.stats.get("choices", [])
    if dataset.state != DatasetState.NEEDS_PART or not parts:
        raise ConflictError("There is nothing to choose about this data set.")
    if not 0 <= number < len(parts):
        raise InvalidError("Choose one of the parts.", field="number")
    if not _take(session, dataset_id, DatasetState.NEEDS_PART):
        raise ConflictError("A part of this data set is chosen already.")
    part = {name: parts[number][name] for name in ("config", "split")}
    # The commit at which they were found, so that what comes is what was chosen.
    found = {"commit": dataset.stats.get("commit", ""), "converted": dataset.stats.get("converted", False)}
    dataset.origin = dataset.origin | part | found
    dataset.stats = {}
    _enqueue(session, bells, dataset)


def fetch_again(session: Session, bells: Bells, dataset_id: int) -> None:
    """Once more what could not be fetched. Raises `ConflictError`."""
    dataset = get_dataset(session, dataset_id)
    refusal = ConflictError("This data set is here, or on its way already.")
    # Where a fetch was cancelled, or its worker died, the data set is still being checked.
    if not dataset.origin or not _take(session, dataset_id, DatasetState.FAILED, DatasetState.CHECKING):
        raise refusal
    newest = next(iter(jobs.list_jobs(session, kinds=(JobKind.INTAKE,), subject_id=dataset_id, limit=1)), None)
    if newest is not None and newest.job_state not in FINAL:
        raise refusal
    dataset.error = ""
    _enqueue(session, bells, dataset)


def _take(session: Session, dataset_id: int, *states: DatasetState) -> bool:
    """On its way from one of `states`; False: its file is here, or another request was first. Who is second waits."""
    mine = (col(Dataset.id) == dataset_id, col(Dataset.state).in_(states), col(Dataset.sha256) == "")
    done = session.execute(sa.update(Dataset).where(*mine).values(state=DatasetState.CHECKING))
    return bool(done.rowcount)  # type: ignore[attr-defined]  # a CursorResult


def store_source(session: Session, dataset_id: int, source: dict[str, Any]) -> None:
    """The file is in its place."""
    dataset = session.get_one(Dataset, dataset_id)
    dataset.size, dataset.sha256, dataset.filename = source["size"], source["sha256"], source["filename"]
    kept = {name: source[name] for name in ("commit", "config", "split") if name in source}
    twin = _twin(session, dataset)
    dataset.origin = dataset.origin | kept | ({"twin": twin} if twin else {})
    session.flush()


def _twin(session: Session, dataset: Dataset) -> int | None:
    """Another living data set of the same owner with the very same bytes."""
    same = (Dataset.sha256 == dataset.sha256, col(Dataset.owner_id) == dataset.owner_id, Dataset.id != dataset.id)
    query = select(Dataset.id).where(
        *same, col(Dataset.deleted_at).is_(None), col(Dataset.state) != DatasetState.FAILED
    )
    return session.exec(query.order_by(sa.desc(col(Dataset.id))).limit(1)).first()


def store_choices(session: Session, dataset_id: int, payload: dict[str, Any]) -> None:
    """There are several parts: a person chooses."""
    dataset = session.get_one(Dataset, dataset_id)
    dataset.state = DatasetState.NEEDS_PART
    dataset.stats = {name: payload[name] for name in ("choices", "commit", "converted") if name in payload}
    session.flush()
