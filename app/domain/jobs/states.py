"""States of a job and the moves between them. Pure: every writer of `job.state` goes through here."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    CANCELLING = "cancelling"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobKind(StrEnum):
    """What a job does; one kind of row for all long work."""

    TRAIN = "train"
    INTAKE = "intake"
    AUDIT = "audit"
    EXPORT = "export"
    PUSH = "push"
    EVALUATE = "evaluate"


class Queue(StrEnum):
    """Which Celery queue serves a job: one slot per GPU, and one for everything light."""

    GPU = "gpu"
    LIGHT = "light"


QUEUE_OF = dict.fromkeys(JobKind, Queue.LIGHT) | {JobKind.TRAIN: Queue.GPU, JobKind.EVALUATE: Queue.GPU}

#: Their `subject_id` is a data set; that of the others is a training.
ABOUT_DATASETS = frozenset({JobKind.TRAIN, JobKind.INTAKE, JobKind.AUDIT})

#: When a waiting job starts, in words and as its row has it; each queue by itself.
PRIORITIES = {"urgent": 10, "normal": 0, "whenever": -10}
#: Room between two neighbours in the queue, so that another fits between.
STRIDE = 1 << 20

#: A worker holds these: they need a lease, and only in them does the fence let a write through.
LEASED = frozenset({JobState.RUNNING, JobState.PAUSING, JobState.CANCELLING})
FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
LIVE = frozenset(JobState) - FINAL

_S = JobState
#: from -> {to: who may write it}
MOVES: dict[JobState, dict[JobState, str]] = {
    _S.QUEUED: {_S.RUNNING: "claim", _S.CANCELLED: "web"},
    _S.PAUSED: {_S.QUEUED: "web", _S.CANCELLED: "web"},
    _S.RUNNING: {
        _S.SUCCEEDED: "worker",
        _S.FAILED: "worker, sweeper",
        _S.QUEUED: "worker, sweeper",
        _S.PAUSING: "web",
        _S.CANCELLING: "web",
    },
    _S.PAUSING: {
        _S.SUCCEEDED: "worker",
        _S.FAILED: "worker",
        _S.PAUSED: "worker, sweeper",
        _S.CANCELLING: "web",
    },
    _S.CANCELLING: {_S.CANCELLED: "worker, sweeper"},
    _S.SUCCEEDED: {},
    _S.FAILED: {},
    _S.CANCELLED: {},
}


def may_move(old: JobState, new: JobState) -> bool:
    """Whether the table above allows `old` -> `new`."""
    return new in MOVES[old]


#: Phases of a running training job, in order, with the words a person reads.
TRAIN_PHASES = (
    "preparing",
    "downloading",
    "loading",
    "answering_before",
    "training",
    "answering_after",
    "saving",
)
