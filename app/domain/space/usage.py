"""What takes space, by data set, training and base model. A handful of queries, and walks that are kept for a while."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.core.context import Context
from app.core.disk import Walked, walked
from app.domain.datasets.models import Dataset
from app.domain.jobs import checkpoints
from app.domain.jobs.models import Artifact, Job
from app.domain.jobs.states import FINAL, JobKind, JobState


@dataclass
class TrainingSpace:
    """A training's bytes: its checkpoints, its files, a merged model kept for further exports, and the rest."""

    id: int
    name: str
    state: JobState
    checkpoints: int = 0
    checkpoint_bytes: int = 0
    artifacts: list[Artifact] = field(default_factory=list)
    merged_bytes: int = 0
    #: Seen on this machine's disk, in its own folder and in those of its exports.
    seen: int = 0

    @property
    def files_bytes(self) -> int:
        """Adapter and exports; a merged model that is one of them is counted there."""
        return sum(artifact.size for artifact in self.artifacts)

    @property
    def total(self) -> int:
        """Where bytes are shared, what the rows say may be more than what lies here."""
        loose = 0 if any(artifact.kind == "merged" for artifact in self.artifacts) else self.merged_bytes
        return max(self.seen, self.checkpoint_bytes + self.files_bytes + loose)

    @property
    def has_ended(self) -> bool:
        """Whether nothing goes on from its checkpoints any more."""
        return self.state in FINAL


@dataclass
class DatasetSpace:
    """A data set's bytes: what was uploaded, and what its check and audits wrote."""

    id: int
    name: str
    total: int


@dataclass(frozen=True)
class ModelSpace:
    """A base model's folder on this machine."""

    folder: str
    total: int


@dataclass
class Usage:
    """Everything, the largest first."""

    trainings: list[TrainingSpace]
    datasets: list[DatasetSpace]
    models: list[ModelSpace]
    free: int
    disk: int
    #: False: there is more than a page may wait for; sizes are then at least what is said.
    whole: bool

    @property
    def total(self) -> int:
        """Bytes of all that is listed."""
        runs = sum(item.total for item in self.trainings) + sum(item.total for item in self.datasets)
        return runs + sum(item.total for item in self.models)


def usage(ctx: Context, session: Session) -> Usage:
    """What takes space now. Four queries and two walks, however much there is."""
    runs, cache = walked(ctx.storage.path("runs")), walked(ctx.settings.model_cache)
    about = _subjects(session)
    trainings = _trainings(session)
    datasets = {row.id or 0: _set(row) for row in session.exec(_DATASETS)}
    for name, size in runs.sizes.items():
        kind, subject = about.get(int(name) if name.isdecimal() else 0, ("", 0))
        if kind == JobKind.TRAIN or kind in (JobKind.EXPORT, JobKind.PUSH):
            owner = int(name) if kind == JobKind.TRAIN else subject
            if owner in trainings:
                trainings[owner].seen += size
        elif subject in datasets:
            datasets[subject].total += size
    for number, training in trainings.items():
        training.merged_bytes = runs.inner.get(f"{number}/merged", 0)
    disk = shutil.disk_usage(ctx.storage.root)
    return Usage(
        trainings=sorted((each for each in trainings.values() if each.total), key=lambda item: -item.total),
        datasets=sorted(datasets.values(), key=lambda item: -item.total),
        models=_models(cache),
        free=disk.free,
        disk=disk.total,
        whole=runs.whole and cache.whole,
    )


def _set(row: Dataset) -> DatasetSpace:
    """A large version has no file beside what its job wrote."""
    return DatasetSpace(row.id or 0, row.title, row.size if row.source_key else 0)


_DATASETS = select(Dataset).where(col(Dataset.deleted_at).is_(None))


def _subjects(session: Session) -> dict[int, tuple[str, int]]:
    query = sa.select(col(Job.id), col(Job.kind), col(Job.subject_id)).where(col(Job.deleted_at).is_(None))
    return {number: (kind, subject) for number, kind, subject in session.execute(query)}


def _trainings(session: Session) -> dict[int, TrainingSpace]:
    columns = sa.select(col(Job.id), col(Job.name), col(Job.state))
    query = columns.where(col(Job.kind) == JobKind.TRAIN, col(Job.deleted_at).is_(None))
    found = {number: TrainingSpace(number, name, JobState(state)) for number, name, state in session.execute(query)}
    for number, (count, size) in checkpoints.sizes(session).items():
        if number in found:
            found[number].checkpoints, found[number].checkpoint_bytes = count, size
    for artifact in session.exec(select(Artifact).order_by(col(Artifact.id))):
        if artifact.job_id in found:
            found[artifact.job_id].artifacts.append(artifact)
    return found


def _models(cache: Walked) -> list[ModelSpace]:
    """Folders of models; locks and what is being fetched are none."""
    shown = {name: size for name, size in cache.sizes.items() if "--" in name and not name.startswith(".")}
    return [ModelSpace(name, size) for name, size in sorted(shown.items(), key=lambda item: -item[1]) if size]
