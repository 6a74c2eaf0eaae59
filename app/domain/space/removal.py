"""Removes what a person no longer wants on the disk. The files go first: what can't be removed still counts."""

from __future__ import annotations

import secrets
import shutil

import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.core.context import Context
from app.core.disk import forget_walks
from app.domain.errors import ConflictError, NotFoundError
from app.domain.exports.service import get_artifact, list_artifacts
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Artifact, Job
from app.domain.jobs.states import LIVE, JobKind


def remove_export(ctx: Context, artifact_id: int) -> Artifact:
    """Remove a merged model or a GGUF with its Modelfiles. Raises `ConflictError` for an adapter, and while in use."""
    with ctx.db.session() as session:
        artifact = get_artifact(session, artifact_id)
        if artifact.kind == "adapter":
            raise ConflictError("The adapter is the training's result. Delete the job to remove it.")
        _not_in_use(session, artifact.job_id)
        beside = [
            each
            for each in list_artifacts(session, artifact.job_id)
            if each.id == artifact.id or (artifact.kind, each.kind, each.quant) == ("gguf", "modelfile", artifact.quant)
        ]
    for each in beside:
        ctx.storage.delete(each.storage_key)
    with ctx.db.session(write=True) as session:
        # A row made anew meanwhile has another number.
        session.execute(sa.delete(Artifact).where(col(Artifact.id).in_([each.id for each in beside])))
        ctx.bells.changed(session, artifact.job_id)
    forget_walks()
    return artifact


def remove_merged(ctx: Context, job_id: int) -> None:
    """Remove a merged model that is kept for further exports and was not asked for by itself."""
    with ctx.db.session() as session:
        jobs.get_job(session, job_id)
        _not_in_use(session, job_id)
        merged = next((each for each in list_artifacts(session, job_id) if each.kind == "merged"), None)
    if merged is not None:
        remove_export(ctx, merged.id or 0)
        return
    ctx.storage.delete(f"runs/{job_id}/merged")
    forget_walks()


def _not_in_use(session: Session, job_id: int) -> None:
    if jobs.list_jobs(session, kinds=(JobKind.EXPORT, JobKind.PUSH), states=LIVE, subject_id=job_id, limit=1):
        raise ConflictError("An export or a push of this training has not ended yet. Wait for it, or cancel it.")


def remove_model(ctx: Context, folder: str) -> None:
    """Remove a base model from this machine. Raises `NotFoundError`, and `ConflictError` while a job may need it."""
    cache = ctx.settings.model_cache
    plain = folder and "/" not in folder and "\\" not in folder and not folder.startswith(".") and "--" in folder
    if not plain or not (cache / folder).is_dir():
        raise NotFoundError("This base model is not on this machine any more.")
    with ctx.db.session() as session:
        if folder.partition("@")[0].removesuffix(".tokenizer") in _models_in_use(session):
            raise ConflictError("A job that has not ended needs this model. Wait for it, or cancel it.")
    going = cache / f".removing-{secrets.token_hex(4)}"
    (cache / folder).rename(going)  # a folder of a model is complete, or it is not there
    shutil.rmtree(going, ignore_errors=True)
    forget_walks()


def _models_in_use(session: Session) -> set[str]:
    """Folder names of the base models of live jobs; an export's is its training's."""
    kinds = (JobKind.TRAIN, JobKind.AUDIT, JobKind.EXPORT)
    live = list(session.exec(select(Job).where(col(Job.state).in_(list(LIVE)), col(Job.kind).in_(list(kinds)))))
    subjects = [job.subject_id for job in live if job.kind == JobKind.EXPORT]
    owners = list(session.exec(select(Job).where(col(Job.id).in_(subjects)))) if subjects else []
    return {str(job.config.get("base_model", "")).replace("/", "--") for job in (*live, *owners)}
