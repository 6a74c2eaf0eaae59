"""Whether this host's disk holds what a job will write: asked before it starts, not found out in the night."""

from __future__ import annotations

from sqlmodel import Session

from app.core.context import Context
from app.domain.datasets import service as datasets
from app.domain.jobs import service as jobs
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.models import Job
from app.domain.jobs.states import JobKind
from app.domain.space import estimate
from worker.workspace import merged_key


def need_room(ctx: Context, session: Session, job: Job) -> None:
    """Raises `NoSpaceError` when what `job` is estimated to write is more than is free here."""
    free = ctx.storage.free_bytes()
    if job.kind == JobKind.TRAIN:
        dataset = datasets.get_dataset(session, job.subject_id)
        needed = estimate.training_bytes(ctx.settings, TrainConfig.model_validate(job.config), dataset.size)
        estimate.refuse_without_room("This training", needed, free)
    elif job.kind == JobKind.INTAKE and "version_of" in job.config:
        rows = datasets.get_dataset(session, job.config["version_of"]).rows_key
        estimate.refuse_without_room("This version", ctx.storage.path(rows).stat().st_size, free)
    elif job.kind == JobKind.EXPORT:
        training = jobs.get_job(session, job.subject_id)
        config = TrainConfig.model_validate(training.config)
        artifact, quant = job.config["artifact"], job.config["quant"]
        merged = ctx.storage.path(merged_key(training)).is_dir()
        needed = estimate.export_bytes(ctx.settings, config, artifact, quant, merged=merged)
        estimate.refuse_without_room("This export", needed, free)
