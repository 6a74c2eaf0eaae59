"""What the JSON calls take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain.comparison import Run
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.models import Job
from app.domain.jobs.ordering import priority_word
from app.domain.jobs.states import JobKind, JobState
from app.domain.workers.models import Worker
from app.domain.workers.service import is_alive
from app.web.deps import MAX_ID

PriorityWord = Literal["urgent", "normal", "whenever"]
_CONFIG = {"base_model": "HuggingFaceTB/SmolLM2-135M-Instruct", "num_train_epochs": 3, "learning_rate": 2e-4}


class ErrorBody(BaseModel):
    """What went wrong: a sentence, and where it stands if a field is to blame."""

    status: int = Field(examples=[409])
    message: str = Field(examples=["Only a running training can be paused."])
    field: str = Field(default="", examples=[""])
    #: Every field that is wrong, with its sentence.
    fields: dict[str, str] = Field(default={}, examples=[{}])


class ErrorOut(BaseModel):
    """The one shape of every refusal."""

    error: ErrorBody


class JobOut(BaseModel):
    """A job. `subject_id`: the data set of a training, the training of an export."""

    id: int = Field(examples=[12])
    kind: JobKind
    name: str = Field(examples=["fortune teller"])
    state: JobState
    phase: str = Field(examples=["training"])
    queue: str = Field(examples=["gpu"])
    priority: PriorityWord
    subject_id: int = Field(examples=[1])
    parent_id: int | None
    #: Number of the sweep that made it.
    sweep_id: int | None
    step: int
    total_steps: int
    attempt: int
    worker: str
    #: What it asks of a worker; 0 and "": any will do.
    gpus: int
    min_gpu_memory_gb: float
    worker_label: str
    #: Number of the account whose it is; none without accounts.
    owner_id: int | None
    #: Everybody who signs in may see it.
    shared: bool
    config: dict[str, Any] = Field(examples=[_CONFIG])
    result: dict[str, Any]
    #: `class`, `message` and `advice` of a failure.
    error: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> JobOut:
        """As the row has it; the traceback stays on the page."""
        values = {name: getattr(job, name) for name in cls.model_fields if name not in {"priority", "error"}}
        error = {name: value for name, value in job.error.items() if name != "traceback"}
        return cls.model_validate(values | {"priority": priority_word(job.priority), "error": error})


class JobPage(BaseModel):
    """Jobs, newest first; `next`: the offset of those after them, if there are any."""

    jobs: list[JobOut]
    next: int | None = Field(examples=[None])


class SweepRun(BaseModel):
    """One training of a sweep. `eval_loss`: its validation loss, of its last look while it has not ended."""

    job: JobOut
    values: dict[str, Any] = Field(examples=[{"learning_rate": 1e-4}])
    eval_loss: float | None

    @classmethod
    def of(cls, run: Run, fields: list[str]) -> SweepRun:
        """As the rows have it."""
        values = {name: run.job.config.get(name) for name in fields}
        return cls(job=JobOut.of(run.job), values=values, eval_loss=run.held_out)


class SweepOut(BaseModel):
    """A sweep. `best`: number of the succeeded training with the lowest validation loss."""

    id: int = Field(examples=[3])
    name: str = Field(examples=["fortune teller"])
    fields: list[str] = Field(examples=[["learning_rate", "lora_r"]])
    best: int | None = Field(examples=[None])
    #: In the order of the grid, the last field changing first.
    runs: list[SweepRun]
    owner_id: int | None
    created_at: datetime


class QueueOut(BaseModel):
    """A queue: whether it is held, and what waits in it, the one that starts next first.

    `others`: how many wait among these that are not yours to see.
    """

    name: str = Field(examples=["gpu"])
    held: bool
    waiting: list[JobOut]
    others: int = 0


class GpuOut(BaseModel):
    """A GPU: memory in bytes, load in percent, compute capability."""

    model_config = ConfigDict(extra="ignore")

    index: int = Field(default=0, examples=[0])
    name: str = Field(default="", examples=["NVIDIA GeForce RTX 3090"])
    total: int = Field(default=0, examples=[25_769_803_776])
    used: int = 0
    load: float | None = None
    capability: str = Field(default="", examples=["8.6"])


class WorkerOut(BaseModel):
    """A worker process of one queue. `job`: the number of what it runs; `draining`: it takes no other."""

    name: str = Field(examples=["host-gpu0"])
    queue: str = Field(examples=["gpu"])
    host: str
    alive: bool
    draining: bool
    job: int | None = Field(examples=[12])
    gpus: list[GpuOut]
    labels: list[str] = Field(examples=[["lab"]])
    started_at: datetime
    last_seen: datetime

    @classmethod
    def of(cls, worker: Worker, job: int | None) -> WorkerOut:
        """As the row has it."""
        same = ("name", "queue", "host", "draining", "started_at", "last_seen")
        values = {name: getattr(worker, name) for name in same}
        told = {name: worker.facts.get(name, []) for name in ("gpus", "labels")}
        return cls.model_validate(values | told | {"alive": is_alive(worker), "job": job})


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewJob(_In):
    """A training to be started."""

    dataset_id: int = Field(ge=1, le=MAX_ID, examples=[1])
    name: str = Field(min_length=1, max_length=200, examples=["fortune teller"])
    config: TrainConfig = Field(examples=[_CONFIG])
    priority: PriorityWord = "normal"


class NewSweep(NewJob):
    """A training for each combination of the values in `grid`: three settings, 24 combinations at most."""

    grid: dict[str, list[int | float | str]] = Field(
        max_length=100, examples=[{"learning_rate": [1e-4, 2e-4], "lora_r": [8, 16]}]
    )


class Changes(_In):
    """What is to differ from the job it is like; what is left out stays."""

    name: str = Field(default="", max_length=200, examples=["fortune teller, gentler"])
    dataset_id: int | None = Field(default=None, ge=1, le=MAX_ID, examples=[None])
    config: dict[str, Any] = Field(default={}, examples=[{"learning_rate": 1e-4}])


class Priority(_In):
    """When a waiting job starts: before all others, in turn, or when nothing else waits."""

    priority: PriorityWord


class Move(_In):
    """Where a waiting job goes: `earlier` or `later` by one place, or right before the job `before` (null: the end)."""

    where: Literal["earlier", "later"] | None = Field(default=None, examples=[None])
    before: int | None = Field(default=None, ge=1, le=MAX_ID, examples=[11])


class Share(_In):
    """Who may see a job: everybody who signs in, or its owner and the administrators."""

    shared: bool
