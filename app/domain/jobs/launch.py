"""A checked `TrainConfig` and a data set become a queued training. Callers commit."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError
from sqlmodel import Session

from app.core.live import Bells
from app.core.settings import Settings
from app.domain.datasets import service as datasets
from app.domain.datasets import sides
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.datasets.split import Split, validation_count
from app.domain.errors import ConflictError, DomainError, InvalidError
from app.domain.exports.service import check_push
from app.domain.jobs import service as jobs
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.models import Job
from app.domain.jobs.states import FINAL, PRIORITIES, JobKind, JobState
from app.domain.models import allowances
from app.domain.models.catalogue import check_model, check_revision


def check_training(
    session: Session, settings: Settings, *, dataset_id: int, name: str, config: TrainConfig, priority: str
) -> None:
    """Raises `InvalidError` whose `errors` name each field that keeps this training from being queued."""
    errors: dict[str, str] = {}
    if not name.strip():
        errors["name"] = "Give the tuned model a name."
    dataset = _usable(session, dataset_id, errors)
    if dataset is not None:
        _check_split(session, dataset, config, errors)
    refusal = check_model(settings, config.base_model)
    if refusal:
        errors["base_model"] = refusal
    refusal = check_revision(config.revision) or allowances.refusal(session, config.base_model, config.revision)
    if refusal:
        errors["revision"] = refusal
    if config.adapter_of:
        _check_start(session, config, errors)
    if priority not in PRIORITIES:
        errors["priority"] = "Choose when it is to start."
    if errors:
        raise InvalidError("The job can't be launched yet.", errors=errors)


def launch_training(
    session: Session,
    bells: Bells,
    settings: Settings,
    *,
    dataset_id: int,
    name: str,
    config: TrainConfig,
    priority: str = "normal",
) -> Job:
    """Queue a training. Raises `InvalidError` whose `errors` name each field that is wrong."""
    check_training(session, settings, dataset_id=dataset_id, name=name, config=config, priority=priority)
    return jobs.enqueue(
        session,
        bells,
        kind=JobKind.TRAIN,
        subject_id=dataset_id,
        name=name.strip()[:200],
        config=config.model_dump(mode="json"),
        parent_id=config.adapter_of or None,
        priority=PRIORITIES[priority],
    )


def repeat(session: Session, bells: Bells, settings: Settings, job_id: int) -> Job:
    """The same once more, for a person: a training that they see, by the road of every launch; of the rest their own.

    Raises `ConflictError` before it has ended, and what a launch raises.
    """
    old = jobs.get_job(session, job_id)
    if old.kind != JobKind.TRAIN:
        if old.kind == JobKind.PUSH:
            check_push(session, settings, str(old.config["repo_id"]))
        return jobs.retry(session, bells, job_id)
    if old.job_state not in FINAL:
        raise ConflictError("This job has not ended yet. Cancel it first, or wait.")
    made = launch_like(session, bells, settings, job_id)
    made.parent_id = old.id
    session.flush()
    return made


#: What the adapter that is gone on from has fixed.
_SAME = ("base_model", "revision", "lora_r", "lora_alpha", "target_modules")


def _check_start(session: Session, config: TrainConfig, errors: dict[str, str]) -> None:
    """The training that is gone on from has ended well, and this one fits its adapter."""
    try:
        before = jobs.get_job(session, config.adapter_of)
    except DomainError:
        before = None
    if before is None or before.kind != JobKind.TRAIN or before.state != JobState.SUCCEEDED:
        errors["base_model"] = "The training to go on from is gone, or has not succeeded. Start a fresh one."
        return
    earlier = TrainConfig.model_validate(before.config)
    for name in _SAME:
        if getattr(earlier, name) != getattr(config, name):
            errors[name] = f"To go on from “{before.name[:80]}” this must stay as it was there."


def _usable(session: Session, dataset_id: int, errors: dict[str, str]) -> Dataset | None:
    try:
        dataset = datasets.get_dataset(session, dataset_id)
    except DomainError as exc:
        errors["dataset_id"] = exc.message
        return None
    sentences = {
        DatasetState.CHECKING: "This data set is still being checked. Wait a moment.",
        DatasetState.NEEDS_PART: "This data set has several parts. Open it and choose one of them first.",
        DatasetState.NEEDS_CHOICE: "Some lines could not be read. Open the data set and decide about them first.",
        DatasetState.FAILED: "This data set could not be read. Choose another.",
        DatasetState.KEPT: "Preferences can't be trained on yet. Choose a data set of conversations or texts.",
    }
    if dataset.state != DatasetState.READY:
        errors["dataset_id"] = sentences[DatasetState(dataset.state)]
        return None
    return dataset


def _check_split(session: Session, dataset: Dataset, config: TrainConfig, errors: dict[str, str]) -> None:
    if dataset.row_count < 1:
        errors["dataset_id"] = "This data set has no rows."
    elif config.split_by_file:
        _check_sides(dataset, config, errors)
    elif config.validation_dataset:
        _check_held_out(session, dataset, config, errors)
    elif config.validation_split > 0 and validation_count(dataset.row_count, config.validation_split) == 0:
        errors["validation_split"] = "One row can't be split. Set the validation split to 0, or add rows."


def _check_sides(dataset: Dataset, config: TrainConfig, errors: dict[str, str]) -> None:
    found = sides.counts(dataset.stats)
    if config.validation_dataset:
        errors["validation_dataset"] = "Either the file says which rows are held out, or another data set does."
    elif not found.get(sides.VALIDATION):
        errors["validation_dataset"] = (
            "No row of this data set says that it is held out: it needs a column `split` that says validation."
        )
    elif train_rows(dataset, config) < 1:
        errors["validation_dataset"] = "All rows of this data set say that they are held out. None is left to train on."


def _check_held_out(session: Session, dataset: Dataset, config: TrainConfig, errors: dict[str, str]) -> None:
    found: dict[str, str] = {}
    held_out = _usable(session, config.validation_dataset, found)
    if held_out is None:
        errors["validation_dataset"] = found["dataset_id"]
    elif held_out.id == dataset.id:
        errors["validation_dataset"] = (
            "Choose another data set than the one that is trained on, or a share of its rows."
        )


def split_of(config: TrainConfig) -> Split:
    """Which rows are held out. With another data set's rows neither fraction nor seed matters."""
    if config.split_by_file:
        return Split(fraction=0, seed=0, by_file=True)
    if config.validation_dataset:
        return Split(fraction=0, seed=0, dataset_id=config.validation_dataset)
    return Split(fraction=config.validation_split, seed=config.seed)


def train_rows(dataset: Dataset, config: TrainConfig) -> int:
    """Rows left for training after the split. Those that name no side are trained on."""
    if config.split_by_file:
        found = sides.counts(dataset.stats)
        return dataset.row_count - found.get(sides.VALIDATION, 0) - found.get(sides.TEST, 0)
    if config.validation_dataset:
        return dataset.row_count
    return dataset.row_count - validation_count(dataset.row_count, config.validation_split)


def launch_like(
    session: Session,
    bells: Bells,
    settings: Settings,
    job_id: int,
    *,
    further: bool = False,
    dataset_id: int | None = None,
    name: str = "",
    changes: Mapping[str, object] | None = None,
) -> Job:
    """Queue a training with the settings of another and some `changes`; `further`: it goes on from that one's adapter.

    Raises `NotFoundError`, and `InvalidError` whose `errors` name each field that is wrong.
    """
    old = jobs.get_job(session, job_id)
    if old.kind != JobKind.TRAIN:
        raise ConflictError("Only a training can be repeated with other settings.")
    wish = old.config | dict(changes or {})
    if further:
        wish["adapter_of"] = job_id
    config = checked_config(wish)
    chosen = dataset_id or old.subject_id
    return launch_training(session, bells, settings, dataset_id=chosen, name=name or old.name, config=config)


def checked_config(wish: Mapping[str, object]) -> TrainConfig:
    """The settings, checked. Raises `InvalidError` whose `errors` name each field that is wrong."""
    try:
        return TrainConfig.model_validate(wish)
    except ValidationError as exc:
        found = [(".".join(str(part) for part in error["loc"]) or "base_model", error["msg"]) for error in exc.errors()]
        raise InvalidError("Some settings are wrong.", errors=dict(found)) from exc
