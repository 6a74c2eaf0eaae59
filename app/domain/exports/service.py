"""What can be taken away from a finished training, and the jobs that make it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sqlmodel import Session, col, select

from app.core.live import Bells
from app.core.settings import Settings
from app.domain.errors import ConflictError, InvalidError, NotAllowedError, NotFoundError
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Artifact, Job
from app.domain.jobs.states import LIVE, JobKind, JobState
from app.domain.models.names import is_hub_id
from app.domain.users.access import Role
from app.domain.users.scoping import actor_of


@dataclass(frozen=True)
class ExportChoice:
    """Something that can be made of an adapter."""

    artifact: str
    quant: str
    title: str
    help: str


EXPORT_CHOICES = (
    ExportChoice("adapter", "", "LoRA adapter", "Only what was trained: small, and needs the base model beside it."),
    ExportChoice("merged", "", "Merged model, 16-bit", "A complete model folder for transformers or vLLM."),
    ExportChoice("gguf", "q4_k_m", "GGUF q4_k_m", "About a third of the size; what most people run with Ollama."),
    ExportChoice("gguf", "q8_0", "GGUF q8_0", "Half the size, hardly any loss."),
    ExportChoice("gguf", "f16", "GGUF f16", "Nothing lost; the largest file."),
)


def file_stem(name: str) -> str:
    """A job's name as a file name that is safe everywhere."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._").lower()
    return stem[:80] or "model"


def _finished(session: Session, job_id: int) -> Job:
    job = jobs.get_job(session, job_id)
    if job.kind != JobKind.TRAIN:
        raise NotFoundError(f"Job {job_id} is not a training.")
    if job.state != JobState.SUCCEEDED:
        raise ConflictError("Only a finished training can be exported. Wait until it has succeeded.")
    return job


def _same(session: Session, job_id: int, config: dict[str, str]) -> Job | None:
    living = jobs.list_jobs(session, kinds=(JobKind.EXPORT,), states=LIVE, subject_id=job_id)
    return next((job for job in living if job.config == config), None)


def request_export(session: Session, bells: Bells, job_id: int, artifact: str, quant: str = "") -> Job:
    """Queue the making of an artifact; the job that is making it already, if there is one."""
    training = _finished(session, job_id)
    if not any(c.artifact == artifact and c.quant == quant and artifact != "adapter" for c in EXPORT_CHOICES):
        raise InvalidError(f"There is no export “{artifact} {quant}”.")
    config = {"artifact": artifact, "quant": quant}
    running = _same(session, job_id, config)
    if running is not None:
        return running
    name = f"{training.name} · {artifact} {quant}".strip()
    return jobs.enqueue(session, bells, kind=JobKind.EXPORT, subject_id=job_id, name=name, config=config)


def may_push(session: Session, settings: Settings) -> bool:
    """Whether whom the session acts for may push anywhere at all."""
    actor = actor_of(session)
    return actor is None or actor.has(Role.ADMINISTRATOR) or bool(settings.hub.members_push_to)


def check_push(session: Session, settings: Settings, repo_id: str) -> None:
    """The stored token is the house's: members push to the owners that are named for them. Raises `NotAllowedError`."""
    actor, owner = actor_of(session), repo_id.partition("/")[0].casefold()
    if actor is None or actor.has(Role.ADMINISTRATOR):
        return
    allowed = [name.casefold() for name in settings.hub.members_push_to]
    if owner not in allowed:
        where = (
            f"Members push to {', '.join(settings.hub.members_push_to)}." if allowed else "Only administrators push."
        )
        raise NotAllowedError(f"You may not push to “{repo_id.partition('/')[0][:80]}”. {where} Ask an administrator.")


def request_push(
    session: Session,
    bells: Bells,
    settings: Settings,
    job_id: int,
    *,
    repo_id: str,
    private: bool,
    what: list[tuple[str, str]],
) -> Job:
    """Queue a push of finished artifacts to the Hub. Raises `NotAllowedError` for a repository that is not theirs."""
    training = _finished(session, job_id)
    if not is_hub_id(repo_id):
        raise InvalidError("Name the repository as owner/name, such as ada/fortune-teller.", field="repo_id")
    check_push(session, settings, repo_id)
    if not what:
        raise InvalidError("Choose at least one thing to push.", field="what")
    ready = {(a.kind, a.quant) for a in list_artifacts(session, job_id)}
    missing = [" ".join(pair).strip() for pair in what if pair not in ready]
    if missing:
        raise InvalidError(f"Not made yet: {', '.join(missing)}. Export it first.", field="what")
    config = {"repo_id": repo_id, "private": private, "what": [list(pair) for pair in what]}
    return jobs.enqueue(
        session, bells, kind=JobKind.PUSH, subject_id=job_id, name=f"{training.name} → {repo_id}", config=config
    )


def list_artifacts(session: Session, job_id: int) -> list[Artifact]:
    """What has been made of a training, oldest first."""
    return list(session.exec(select(Artifact).where(Artifact.job_id == job_id).order_by(col(Artifact.id))))


def get_artifact(session: Session, artifact_id: int) -> Artifact:
    """The artifact. Raises `NotFoundError`, also when its training was deleted."""
    artifact = session.get(Artifact, artifact_id)
    if artifact is None:
        raise NotFoundError("This file does not exist any more.")
    jobs.get_job(session, artifact.job_id)
    return artifact


def export_jobs(session: Session, job_id: int) -> list[Job]:
    """Exports and pushes of a training, newest first."""
    return jobs.list_jobs(session, kinds=(JobKind.EXPORT, JobKind.PUSH), subject_id=job_id, limit=100)


def artifacts_of(session: Session, job_ids: Iterable[int]) -> dict[int, list[Artifact]]:
    """job -> its artifacts, for lists; one query for all."""
    out: dict[int, list[Artifact]] = {}
    for artifact in session.exec(
        select(Artifact).where(col(Artifact.job_id).in_(list(job_ids))).order_by(col(Artifact.id))
    ):
        out.setdefault(artifact.job_id, []).append(artifact)
    return out
