"""The lines of `events.jsonl`: what a child process tells the runner, one typed JSON object per line.

Shared by every child (trainer, intake, audit, export) and by the runner that stores the lines. Imports no torch,
no SQLModel and no Celery.
"""

from __future__ import annotations

import json
import math
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

EVENTS_FILE = "events.jsonl"
CONTROL_FILE = "control.json"
JOB_FILE = "job.json"
#: What the child prints, in its job folder.
OUTPUT_FILE = "output.log"
#: Name of the variable that carries the write end of the runner's wake-up pipe.
BELL_ENV = "TUNEDECK_BELL_FD"

ErrorClass = Literal[
    "out_of_memory",
    "bad_data",
    "model_not_found",
    "gated_model",
    "hub_unreachable",
    "hub_refused",
    "disk_full",
    "not_supported",
    "nan_loss",
    "killed",
    "bug",
]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))


class Phase(_Line):
    """The child entered (or goes on in) a phase; `done` of `total` in `unit` (bytes, steps, answers, rows)."""

    kind: Literal["phase"] = "phase"
    phase: str
    done: float | None = None
    total: float | None = None
    unit: str = ""
    detail: str = ""


def _finite(values: dict[str, float]) -> dict[str, float]:
    """JSON has no NaN: a value that is none is left out, so that the others arrive."""
    return {name: value for name, value in values.items() if math.isfinite(value)}


class Metric(_Line):
    """Values at an optimiser step, such as `loss`, `eval_loss`, `learning_rate` and `tokens_per_second`."""

    kind: Literal["metric"] = "metric"
    step: int
    values: Annotated[dict[str, float], AfterValidator(_finite)]
    total_steps: int | None = None
    epoch: float | None = None


class Log(_Line):
    """A line for the person watching."""

    kind: Literal["log"] = "log"
    level: Literal["debug", "info", "warning", "error"] = "info"
    message: str


class Answer(_Line):
    """The model's answer to question `prompt` (its index in the config), before or after training."""

    kind: Literal["answer"] = "answer"
    prompt: int
    side: Literal["before", "after"]
    sample: int = 0
    text: str
    reasoning: str = ""
    tokens: int = 0
    seconds: float = 0.0
    stopped: Literal["end", "length"] = "end"


class Score(_Line):
    """One number about the whole run, before or after (`eval_loss` in nats per token, `perplexity`)."""

    kind: Literal["score"] = "score"
    name: str
    side: Literal["before", "after"]
    value: float


class Checkpoint(_Line):
    """A checkpoint is complete on disk at `path` (relative to the job folder)."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: int
    path: str
    size: int
    reason: Literal["schedule", "pause", "drain", "request", "end"] = "schedule"
    #: Validation loss at this very step, where it was looked at.
    eval_loss: float | None = None


class Gpu(_Line):
    """Memory in bytes: of the process's device, or of the process itself on the CPU.

    The peaks are this process's own since it began: what its tensors took, and what was held for them. `values` are
    samples for curves over the steps: bytes, shares between 0 and 1, watts, degrees Celsius.
    """

    kind: Literal["gpu"] = "gpu"
    device: str
    memory_used: int
    memory_total: int
    peak_allocated: int | None = None
    peak_reserved: int | None = None
    utilization: float | None = None
    step: int = 0
    values: Annotated[dict[str, float], AfterValidator(_finite)] = Field(default_factory=dict)


class Artifact(_Line):
    """A finished file or folder at `path` (relative to the job folder); `proof` says how it was checked."""

    kind: Literal["artifact"] = "artifact"
    artifact: Literal["adapter", "merged", "gguf", "modelfile"]
    quant: str = ""
    path: str
    size: int
    sha256: str = ""
    proof: dict[str, Any] = Field(default_factory=dict)


class Problem(_Line):
    """A row that could not be read: 1-based `line`, byte `offset` of the line's start, a code and what to do."""

    kind: Literal["problem"] = "problem"
    line: int
    offset: int
    code: str
    message: str
    excerpt: str = ""


class Result(_Line):
    """What a light job found (an intake's statistics, an audit's report, a push's address)."""

    kind: Literal["result"] = "result"
    payload: dict[str, Any]


class Error(_Line):
    """The run can't go on: what happened, what to change, and the traceback for the fold."""

    kind: Literal["error"] = "error"
    error_class: ErrorClass
    message: str
    advice: str = ""
    traceback: str = ""


class Done(_Line):
    """The last line. `paused` and `cancelled` only when control asked for it; `drained` leaves a checkpoint."""

    kind: Literal["done"] = "done"
    outcome: Literal["succeeded", "paused", "cancelled", "drained"] = "succeeded"


Event = Annotated[
    Phase | Metric | Log | Answer | Score | Checkpoint | Gpu | Artifact | Problem | Result | Error | Done,
    Field(discriminator="kind"),
]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def parse(line: bytes | str) -> Event:
    """One line of `events.jsonl`. Raises `pydantic.ValidationError` for anything else."""
    return _EVENT.validate_json(line)


class Emitter:
    """Appends events to `events.jsonl` and rings the runner's pipe after each flush. Safe across threads."""

    def __init__(self, job_dir: Path, echo: IO[str] | None = None) -> None:
        self._file = (job_dir / EVENTS_FILE).open("ab", buffering=0)
        self._echo = echo
        self._lock = threading.Lock()
        fd = os.environ.get(BELL_ENV)
        self._bell = int(fd) if fd else None

    def emit(self, event: BaseModel) -> None:
        """Write one line; the line is in the operating system's hands when this returns."""
        data = event.model_dump_json(exclude_none=True).encode() + b"\n"
        with self._lock:
            self._write(data)
            if self._echo is not None:
                print(event.model_dump_json(exclude={"at"}, exclude_none=True), file=self._echo, flush=True)
            if self._bell is not None:
                try:
                    os.write(self._bell, b"\x07")
                except BlockingIOError:
                    pass  # the pipe is full: the runner is already awake
                except OSError:
                    self._bell = None

    def _write(self, data: bytes) -> None:
        """All of it or, on a disk that is full, nothing: the next line must not join the half of this one."""
        written = 0
        try:
            while written < len(data):
                written += self._file.write(data[written:]) or 0
        except OSError:
            os.ftruncate(self._file.fileno(), os.fstat(self._file.fileno()).st_size - written)
            raise

    def close(self) -> None:
        """No more lines. A process that ends needs no call."""
        self._file.close()

    def log(self, message: str, level: Literal["debug", "info", "warning", "error"] = "info") -> None:
        """A `log` line."""
        self.emit(Log(level=level, message=message))

    def phase(
        self, phase: str, done: float | None = None, total: float | None = None, unit: str = "", detail: str = ""
    ) -> None:
        """A `phase` line."""
        self.emit(Phase(phase=phase, done=done, total=total, unit=unit, detail=detail))


ControlAction = Literal["pause", "cancel", "drain", "checkpoint"]


class Control:
    """Reads `control.json`, which the runner writes: what the child is asked to do at its next safe point."""

    def __init__(self, job_dir: Path) -> None:
        self._path = job_dir / CONTROL_FILE
        #: Modification time of the request last read: tells one request from the next.
        self.stamp: int | None = None
        self._action: ControlAction | None = None

    def asked(self) -> ControlAction | None:
        """The standing request, or None. One `stat` call when nothing changed."""
        try:
            stamp = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return None
        if stamp != self.stamp:
            self._action = json.loads(self._path.read_text())["action"]
            self.stamp = stamp
        return self._action


def write_control(job_dir: Path, action: ControlAction) -> None:
    """Ask the child in `job_dir` for something; whole or not at all."""
    part = job_dir / (CONTROL_FILE + ".part")
    part.write_text(json.dumps({"action": action}))
    part.replace(job_dir / CONTROL_FILE)
