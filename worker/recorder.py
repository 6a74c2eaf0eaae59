"""Stores what a child said: each event in the log, and its content in the table that pages read."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col

from app.core.context import Context
from app.domain.datasets import origins
from app.domain.datasets import service as datasets
from app.domain.datasets.models import DatasetState
from app.domain.errors import InvalidError
from app.domain.jobs import checkpoints, fence
from app.domain.jobs import service as jobs
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.launch import launch_training
from app.domain.jobs.models import Answer, Artifact, Checkpoint, Job, JobAttempt, JobEvent, Metric, Score
from app.domain.jobs.states import JobKind
from app.domain.upsert import upsert
from worker.trainer import protocol
from worker.workspace import job_dir_key

log = logging.getLogger(__name__)

#: Fields that pages read from another table, so that the log stays light.
_NOT_LOGGED = {"answer": {"text", "reasoning"}, "error": {"traceback"}, "result": {"payload"}, "artifact": {"proof"}}
_UNLOGGED_KINDS = frozenset({"problem", "done"})


def _clean(value: Any) -> Any:
    """Without NUL characters, which Postgres does not store."""
    if isinstance(value, str):
        return value.replace("\x00", "�")
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value


class Recorder:
    """Writes the events of one attempt. The caller has one transaction open, fenced by `fence.open_gate`."""

    def __init__(self, ctx: Context, job: Job) -> None:
        self._ctx = ctx
        self._job = job
        self._id = job.id or 0
        #: Where an intake's file lies, or is to lie.
        self._source_key = ""
        self.folder: Path = ctx.storage.path(job_dir_key(job))

    def key_of(self, event: protocol.Event) -> str | None:
        """Storage key of the bytes that `event` speaks of, if it does."""
        match event:
            case protocol.Checkpoint() | protocol.Artifact():
                return self._key(event.path)
            case protocol.Result() if self._job.kind == JobKind.INTAKE:
                return self._key_of_intake(event.payload)
            case _:
                return None

    def _key_of_intake(self, payload: dict[str, Any]) -> str | None:
        """Of the fetched file, which is told first; of the rows; none where a part is to be chosen."""
        if "source" in payload:
            return self._source_key
        return None if "choices" in payload else self._key("rows.jsonl")

    def _key(self, name: str) -> str:
        return self._ctx.storage.key(self.folder / name)

    def store(self, session: Session, events: list[protocol.Event], old_tail: int, new_tail: int) -> list[str]:
        """All of `events`, or nothing. Returns keys of checkpoints that are no longer kept. Raises `FencedError`."""
        logged = [event for event in events if event.kind not in _UNLOGGED_KINDS]
        own = fence.Ownership(self._id, self._job.attempt)
        seq = fence.open_gate(session, own, count=len(logged), old_tail=old_tail, new_tail=new_tail)
        self._log(session, logged, seq)
        self._metrics(session, [event for event in events if isinstance(event, protocol.Metric)])
        self._points(session, [event for event in events if isinstance(event, protocol.Gpu)])
        for event in events:
            self._apply(session, event)
        self._ctx.bells.changed(session, self._id)
        saved = any(isinstance(event, protocol.Checkpoint) for event in events)
        return checkpoints.keep(session, self._id) if saved else []

    def _log(self, session: Session, events: list[protocol.Event], seq: int) -> None:
        rows = []
        for number, event in enumerate(events, start=seq):
            hidden = {"kind", "at"} | _NOT_LOGGED.get(event.kind, set())
            payload = _clean(event.model_dump(mode="json", exclude=hidden, exclude_none=True))
            row = {
                "job_id": self._id,
                "seq": number,
                "attempt": self._job.attempt,
                "step": getattr(event, "step", None),
            }
            rows.append(row | {"at": event.at, "kind": event.kind, "payload": payload})
        if rows:
            session.execute(sa.insert(JobEvent), rows)

    def _points(self, session: Session, events: Sequence[protocol.Metric | protocol.Gpu]) -> None:
        """For the curves. Of two values at one step the later one counts."""
        points = {
            (name, event.step): value
            for event in events
            for name, value in event.values.items()
            if not math.isnan(value)
        }
        key = {"job_id": self._id, "attempt": self._job.attempt}
        upsert(session, Metric, [key | {"name": n, "step": s, "value": v} for (n, s), v in points.items()])

    def _metrics(self, session: Session, events: list[protocol.Metric]) -> None:
        self._points(session, events)
        if events:
            last = events[-1]
            values: dict[str, Any] = {"step": max(event.step for event in events)}
            if last.total_steps is not None:
                values["total_steps"] = last.total_steps
            self._set(session, **values)

    def _set(self, session: Session, **values: Any) -> None:
        session.execute(sa.update(Job).where(col(Job.id) == self._id).values(**values))

    def _apply(self, session: Session, event: protocol.Event) -> None:
        match event:
            case protocol.Phase():
                progress = {"phase_done": event.done, "phase_total": event.total, "phase_unit": event.unit}
                self._set(session, phase=event.phase, **progress)
            case protocol.Answer():
                row = event.model_dump(exclude={"kind", "at"})
                upsert(session, Answer, [{"job_id": self._id} | _clean(row)])
            case protocol.Score():
                row = {"job_id": self._id, "name": event.name, "side": event.side, "value": event.value}
                upsert(session, Score, [row])
            case protocol.Checkpoint():
                self._checkpoint(session, event)
            case protocol.Artifact():
                self._artifact(session, event)
            case protocol.Problem() if self._job.kind == JobKind.INTAKE:
                problem = event.model_dump(exclude={"kind", "at"})
                datasets.store_problem(session, self._job.subject_id, _clean(problem))
            case protocol.Result():
                self._result(session, event)
            case _:
                pass

    def _checkpoint(self, session: Session, event: protocol.Checkpoint) -> None:
        row = {
            "job_id": self._id,
            "attempt": self._job.attempt,
            "step": event.step,
            "storage_key": self._key(event.path),
        }
        rest = {"size": event.size, "reason": event.reason, "created_at": event.at, "eval_loss": event.eval_loss}
        upsert(session, Checkpoint, [row | rest])
        self._set(session, losses=0, step=event.step)

    def _artifact(self, session: Session, event: protocol.Artifact) -> None:
        training = self._job.subject_id if self._job.kind == JobKind.EXPORT else self._id
        same = (
            col(Artifact.job_id) == training,
            col(Artifact.kind) == event.artifact,
            col(Artifact.quant) == event.quant,
        )
        session.execute(sa.delete(Artifact).where(*same))
        session.add(
            Artifact(
                job_id=training,
                made_by=self._id,
                kind=event.artifact,
                quant=event.quant,
                storage_key=self._key(event.path),
                size=event.size,
                sha256=event.sha256,
                proof=_clean(event.proof),
            )
        )
        session.flush()

    def _result(self, session: Session, event: protocol.Result) -> None:
        payload, rows_key = _clean(event.payload), self.key_of(event)
        if self._job.kind == JobKind.INTAKE and "source" in payload:
            origins.store_source(session, self._job.subject_id, payload["source"])
            return
        if self._job.kind == JobKind.INTAKE and "choices" in payload:
            origins.store_choices(session, self._job.subject_id, payload)
            return
        self._set(session, result=payload)
        if rows_key is None:
            return
        datasets.store_intake(session, self._job.subject_id, rows_key, payload)
        wish = self._job.config.get("then_train")
        ready = datasets.get_dataset(session, self._job.subject_id).state == DatasetState.READY
        if wish and ready:
            self._then_train(session, wish, payload)

    def _then_train(self, session: Session, wish: dict[str, Any], payload: dict[str, Any]) -> None:
        """The training that was asked for together with the upload; the data set is ready either way."""
        config = TrainConfig.model_validate(wish["config"])
        number, name = self._job.subject_id, wish["name"]
        try:
            launch_training(session, self._ctx.bells, self._ctx.settings, dataset_id=number, name=name, config=config)
        except InvalidError as exc:
            said = " ".join([exc.message, *exc.errors.values()])
            log.warning("The training “%s” was not started: %s", name, said)
            self._set(session, result=payload | {"not_started": said})

    def begin(self, session: Session) -> None:
        """Before the child starts: what an earlier attempt of an intake left is forgotten."""
        if self._job.kind == JobKind.INTAKE:
            datasets.clear_intake(session, self._job.subject_id)
            self._source_key = datasets.get_dataset(session, self._job.subject_id).source_key

    def pass_over(self, session: Session, damaged: Checkpoint) -> None:
        """Before the child starts: `damaged` counts no more, and this attempt begins at the one before it."""
        step = damaged.step
        session.delete(session.merge(damaged))
        session.flush()
        last = jobs.newest_checkpoint(session, self._id)
        attempt = (col(JobAttempt.job_id) == self._id, col(JobAttempt.attempt) == self._job.attempt)
        session.execute(sa.update(JobAttempt).where(*attempt).values(from_step=last.step if last else 0))
        then = f"the one at step {last.step}" if last else "the beginning"
        message = f"The checkpoint at step {step} is damaged or incomplete. Going on from {then}."
        self.store(session, [protocol.Log(level="warning", message=message)], 0, 0)

    def failed(self, session: Session, error: dict[str, Any]) -> None:
        """The job failed for good."""
        if self._job.kind == JobKind.INTAKE:
            datasets.store_failure(session, self._job.subject_id, error.get("message", ""))
