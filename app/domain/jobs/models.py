"""Tables of jobs: one kind of row for all long work, its events, its numbers, its answers, its files."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from app.core.db import utcnow
from app.domain.jobs.states import JobState


def _json() -> Any:
    return sa.Column(sa.JSON, nullable=False)


class Job(SQLModel, table=True):
    """Anything longer than a request. `attempt` fences every write of a worker."""

    __table_args__ = (
        sa.Index("ix_job_waiting", "queue", "state", "priority", "position"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True)
    kind: str = Field(index=True)
    #: The data set (train, intake, audit) or the training job (export, push) this is about.
    subject_id: int = Field(index=True)
    queue: str
    name: str
    #: `TrainConfig`, or the request of a light job.
    config: dict[str, Any] = Field(default_factory=dict, sa_column=_json())
    state: str = Field(default=JobState.QUEUED, index=True)
    phase: str = ""
    phase_done: float | None = None
    phase_total: float | None = None
    phase_unit: str = ""
    #: What it asks of a worker (`demands.Demand`), copied from `config` for the claim.
    gpus: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    min_gpu_memory_gb: float = Field(default=0.0, sa_column_kwargs={"server_default": "0"})
    worker_label: str = Field(default="", sa_column_kwargs={"server_default": ""})
    priority: int = 0
    position: int = Field(default=0, sa_type=sa.BigInteger)
    attempt: int = 0
    beat: int = 0
    losses: int = 0
    not_before: datetime | None = None
    worker: str = ""
    step: int = 0
    total_steps: int = 0
    event_seq: int = 0
    #: Byte in `events.jsonl` up to which this attempt's lines are stored.
    tail_offset: int = Field(default=0, sa_type=sa.BigInteger)
    #: `{class, message, advice, traceback}` of the failure.
    error: dict[str, Any] = Field(default_factory=dict, sa_column=_json())
    #: What a light job found, or the summary of a training.
    result: dict[str, Any] = Field(default_factory=dict, sa_column=_json())
    parent_id: int | None = Field(default=None, foreign_key="job.id")
    #: Number of the sweep that made it, among others.
    sweep_id: int | None = Field(default=None, index=True)
    #: Number of the account whose it is; None: made before there were accounts. A light job is as what it is about.
    owner_id: int | None = Field(default=None, index=True)
    #: Number of the account that started it, and for which it counts; None: the house itself.
    started_by: int | None = Field(default=None, index=True)
    #: Everybody who is signed in may see it.
    shared: bool = Field(default=False, sa_column_kwargs={"server_default": sa.false()})
    created_at: datetime = Field(default_factory=utcnow)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deleted_at: datetime | None = None

    @property
    def job_state(self) -> JobState:
        """The state as the enum."""
        return JobState(self.state)


class JobAttempt(SQLModel, table=True):
    """One claim of a job. Its shown curve ends where the next attempt's starts."""

    __tablename__ = "job_attempt"

    job_id: int = Field(foreign_key="job.id", primary_key=True, ondelete="CASCADE")
    attempt: int = Field(primary_key=True)
    worker: str = ""
    #: Optimiser step this attempt went on from; 0 for a fresh start.
    from_step: int = 0
    started_at: datetime = Field(default_factory=utcnow)
    ended_at: datetime | None = None
    outcome: str = ""


class JobEvent(SQLModel, table=True):
    """The event log of a job: `seq` has no gaps and follows the order of commits."""

    __tablename__ = "event"

    job_id: int = Field(foreign_key="job.id", primary_key=True, ondelete="CASCADE")
    seq: int = Field(primary_key=True)
    attempt: int
    step: int | None = None
    at: datetime = Field(default_factory=utcnow)
    kind: str
    payload: dict[str, Any] = Field(default_factory=dict, sa_column=_json())


class Metric(SQLModel, table=True):
    """One value at one optimiser step of one attempt."""

    job_id: int = Field(foreign_key="job.id", primary_key=True, ondelete="CASCADE")
    attempt: int = Field(primary_key=True)
    name: str = Field(primary_key=True)
    step: int = Field(primary_key=True)
    value: float


class Checkpoint(SQLModel, table=True):
    """A complete checkpoint: only a row here makes it count."""

    job_id: int = Field(foreign_key="job.id", primary_key=True, ondelete="CASCADE")
    step: int = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    #: Storage key of the folder.
    storage_key: str
    size: int = Field(sa_type=sa.BigInteger)
    reason: str = "schedule"
    #: Validation loss at this very step, where it was looked at.
    eval_loss: float | None = None
    #: The lowest of them among the job's checkpoints.
    best: bool = Field(default=False, sa_column_kwargs={"server_default": sa.false()})
    created_at: datetime = Field(default_factory=utcnow)


class Answer(SQLModel, table=True):
    """The model's answer to question `prompt` of the job's config, before or after training."""

    job_id: int = Field(foreign_key="job.id", primary_key=True, ondelete="CASCADE")
    prompt: int = Field(primary_key=True)
    side: str = Field(primary_key=True)
    sample: int = Field(default=0, primary_key=True)
    text: str
    reasoning: str = ""
    tokens: int = 0
    seconds: float = 0.0
    stopped: str = "end"


class Score(SQLModel, table=True):
    """One number about the model, before or after training."""

    job_id: int = Field(foreign_key="job.id", primary_key=True, ondelete="CASCADE")
    name: str = Field(primary_key=True)
    side: str = Field(primary_key=True)
    value: float


class Artifact(SQLModel, table=True):
    """A finished, proved file or folder of a training job."""

    __table_args__ = (
        sa.UniqueConstraint("job_id", "kind", "quant"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True)
    #: The training job it belongs to.
    job_id: int = Field(foreign_key="job.id", ondelete="CASCADE")
    #: The job that made it.
    made_by: int = Field(foreign_key="job.id", ondelete="CASCADE")
    kind: str
    quant: str = ""
    storage_key: str
    size: int = Field(sa_type=sa.BigInteger)
    sha256: str = ""
    proof: dict[str, Any] = Field(default_factory=dict, sa_column=_json())
    created_at: datetime = Field(default_factory=utcnow)


class QueueHold(SQLModel, table=True):
    """A row means: nothing new of this queue starts."""

    __tablename__ = "queue_hold"

    queue: str = Field(primary_key=True)
    held_at: datetime = Field(default_factory=utcnow)
