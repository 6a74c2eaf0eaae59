"""Jobs as pages show them: state in words, progress, time left, what can be done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.core.db import utcnow
from app.domain.jobs.models import Job, JobEvent
from app.domain.jobs.states import FINAL, LEASED, TRAIN_PHASES, JobKind, JobState
from app.web import filters
from app.web.render import translate as _

#: Words of the phases; a phase not listed is shown by its own name.
PHASE_WORDS = {
    "preparing": "Preparing",
    "downloading": "Fetching the model",
    "loading": "Loading the model",
    "answering_before": "Asking the questions before",
    "training": "Training",
    "answering_after": "Asking the questions again",
    "saving": "Saving the adapter",
    "reading": "Reading the rows",
    "tokenising": "Reading the rows as tokens",
    "merging": "Merging adapter and base model",
    "converting": "Converting to GGUF",
    "quantising": "Quantising",
    "proving": "Proving the file",
    "packing": "Packing",
    "uploading": "Uploading to the Hub",
}
ENDED = {
    JobState.SUCCEEDED: "Done",
    JobState.FAILED: "Failed",
    JobState.CANCELLED: "Cancelled",
    JobState.PAUSED: "Paused",
}


@dataclass(frozen=True)
class JobView:
    """A job, its words and its numbers."""

    row: Job
    phase: str
    progress: dict[str, Any]
    left: float | None

    @property
    def is_final(self) -> bool:
        return self.row.job_state in FINAL

    @property
    def is_running(self) -> bool:
        return self.row.job_state in LEASED

    @property
    def is_queued(self) -> bool:
        return self.row.state == JobState.QUEUED

    @property
    def succeeded(self) -> bool:
        return self.row.state == JobState.SUCCEEDED

    @property
    def failed(self) -> bool:
        return self.row.state == JobState.FAILED

    @property
    def base_model(self) -> str:
        return str(self.row.config.get("base_model", ""))

    @property
    def can_pause(self) -> bool:
        return self.row.state == JobState.RUNNING and self.row.kind == JobKind.TRAIN

    @property
    def can_resume(self) -> bool:
        return self.row.state == JobState.PAUSED

    @property
    def can_cancel(self) -> bool:
        return not self.is_final and self.row.state != JobState.CANCELLING

    @property
    def summary(self) -> str:
        """How far it is or came, for lists; what its badge says already is not said again."""
        if self.succeeded and self.row.step:
            return _("%(n)s steps in %(time)s", n=filters.number(self.row.step), time=self.took)
        return str(self.progress["text"]) if self.row.step or not self.is_final else "–"

    @property
    def took(self) -> str:
        """How long it ran, or has been running."""
        begun = self.row.started_at
        return filters.duration(((self.row.finished_at or utcnow()) - begun).total_seconds()) if begun else ""


def phase_words(phase: str) -> str:
    """A phase in words."""
    return _(PHASE_WORDS.get(phase, phase.replace("_", " ").capitalize()))


def job_view(job: Job, pace: float | None = None) -> JobView:
    """The job with its words. `pace`: seconds a step, when it can be told."""
    steps = max(0, job.total_steps - job.step)
    left = pace * steps if pace and steps and job.state == JobState.RUNNING else None
    return JobView(job, _phase(job), _progress(job, left), left)


def _phase(job: Job) -> str:
    state = job.job_state
    if state in ENDED:
        return _(ENDED[state])
    if state == JobState.QUEUED:
        return _("Waiting for a worker")
    if state == JobState.CANCELLING:
        return _("Stopping")
    if state == JobState.PAUSING:
        return _("Saving a checkpoint, then pausing")
    return phase_words(job.phase) if job.phase else _("Starting")


def _progress(job: Job, left: float | None) -> dict[str, Any]:
    """Arguments of the `progress` macro."""
    kind = {JobState.SUCCEEDED: "done"}.get(job.job_state, "" if job.job_state in LEASED else "halt")
    said = _("%(time)s left", time=filters.duration(left)) if left is not None else ""
    if job.kind == JobKind.TRAIN and (job.phase in {"", "training"} or job.job_state in FINAL) and job.total_steps:
        text = _("Step %(done)s of %(total)s", done=filters.number(job.step), total=filters.number(job.total_steps))
        if job.state in {JobState.PAUSING, JobState.CANCELLING}:
            text = f"{_phase(job)}: {text}"
        return {"done": job.step, "total": job.total_steps, "text": text, "left": said, "kind": kind}
    return {"done": job.phase_done, "total": job.phase_total, "text": _phase_progress(job), "left": said, "kind": kind}


def _phase_progress(job: Job) -> str:
    if not job.phase_total:
        return _phase(job)
    done, total = job.phase_done or 0, job.phase_total
    if job.phase_unit == "bytes":
        return _(
            "%(phase)s: %(done)s of %(total)s",
            phase=_phase(job),
            done=filters.filesize(done),
            total=filters.filesize(total),
        )
    if job.phase_unit == "held-out rows":
        return _("Held-out rows: %(done)s of %(total)s", done=filters.number(done), total=filters.number(total))
    return _(
        "%(phase)s: %(done)s of %(total)s", phase=_phase(job), done=filters.number(done), total=filters.number(total)
    )


def phase_items(job: Job) -> list[dict[str, str]]:
    """Items of the `phases` macro: what is behind, what is now, what comes."""
    reached = TRAIN_PHASES.index(job.phase) if job.phase in TRAIN_PHASES else -1
    if job.state == JobState.SUCCEEDED:
        reached = len(TRAIN_PHASES)
    states = ["done" if i < reached else "now" if i == reached else "todo" for i in range(len(TRAIN_PHASES))]
    shown = zip(TRAIN_PHASES, states, strict=True)
    return [
        {"label": phase_words(phase), "state": state}
        for phase, state in shown
        if phase != "downloading" or state == "now"
    ]


def log_view(event: JobEvent) -> dict[str, str]:
    """A line of the `log` macro."""
    level, message = _log_words(event)
    at = {"at": f"{event.at:%H:%M:%S}", "iso": event.at.isoformat()}
    return {"seq": str(event.seq), **at, "level": level, "message": message}


def _checkpoint_words(payload: dict[str, Any], step: int | None) -> str:
    said = _("Checkpoint saved at step %(step)s.", step=payload.get("step", step))
    loss = payload.get("eval_loss")
    return f"{said} " + _("Validation loss %(loss)s.", loss=filters.loss(loss)) if loss is not None else said


def _log_words(event: JobEvent) -> tuple[str, str]:
    payload = event.payload
    if event.kind == "log":
        return str(payload.get("level", "info")), str(payload.get("message", ""))
    if event.kind == "state":
        reason = f" {payload['reason']}" if payload.get("reason") else ""
        return "info", _("State: %(state)s.", state=payload.get("state", "")) + reason
    if event.kind == "checkpoint":
        return "info", _checkpoint_words(payload, event.step)
    if event.kind == "lost":
        return "warning", str(payload.get("message", _("The worker was lost.")))
    return "error", str(payload.get("message", ""))
