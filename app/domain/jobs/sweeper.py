"""Finds jobs whose worker has fallen silent, in every worker and web process: the conditional UPDATE makes it safe.

A job is lost when this sweeper has itself read the same `beat` for a whole lease on its own monotonic clock, over
successful reads close together. No two machines' clocks are compared, and a sleeping laptop counts nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from app.core.context import Context
from app.core.storage import StorageError
from app.domain.datasets import service as datasets
from app.domain.datasets.models import Dataset
from app.domain.jobs import fence, leftovers, retention, service
from app.domain.jobs.models import Artifact, Job
from app.domain.jobs.states import FINAL, LEASED, JobKind
from app.domain.sweeps.models import Sweep
from app.domain.uploads import service as uploads

log = logging.getLogger(__name__)
_TIDY_SECONDS = 600
_PRUNE_SECONDS = 60


@dataclass
class _Seen:
    attempt: int
    beat: int
    since: float


class Sweeper:
    """Two threads that look every `worker.sweep_seconds`: one for lost jobs, one that removes files.

    Apart, for S3 may be slow to answer. `removes`: whether what was deleted is removed here; one process will do.
    """

    def __init__(self, ctx: Context, *, removes: bool = True) -> None:
        self._ctx = ctx
        self._removes = removes
        self._seen: dict[int, _Seen] = {}
        self._last_read = float("-inf")
        self._next_tidy = float("-inf")
        self._next_prune = float("-inf")
        self._stop = threading.Event()
        rounds = {"sweeper": self.watch, "remover": self.clean}
        self._threads = [
            threading.Thread(target=self._loop, args=(look,), name=name, daemon=True) for name, look in rounds.items()
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, and wait for the look in progress."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=10)

    def _loop(self, look: Callable[[], None]) -> None:
        while not self._stop.wait(self._ctx.settings.worker.sweep_seconds):
            try:
                look()
            except sa.exc.SQLAlchemyError as exc:
                log.warning("The sweeper could not read the database: %s", exc)
            except (OSError, StorageError) as exc:
                log.warning("The sweeper could not finish its round: %s", exc)

    def look(self) -> None:
        """One round of both."""
        self.watch()
        self.clean()

    def watch(self) -> None:
        """Lost jobs and forgotten doorbells."""
        with self._ctx.db.session() as session:
            query = select(Job).where(col(Job.state).in_(list(LEASED)))
            leased = [(job.id or 0, job.attempt, job.beat) for job in session.exec(query)]
            queues = service.waiting_queues(session)
        for job_id, attempt, beat in self._silent(leased, time.monotonic()):
            self._lose(fence.Ownership(job_id, attempt), beat)
        for queue in queues:
            self._ctx.bells.doorbell.ring(queue)

    def clean(self) -> None:
        """Files of deleted jobs and data sets, and old checkpoints; where bytes are shared, this host's copies too."""
        if self._ctx.storage.remote and time.monotonic() >= self._next_tidy:
            leftovers.remove(self._ctx)
            self._next_tidy = time.monotonic() + _TIDY_SECONDS
        if not self._removes:
            return
        with self._ctx.db.session() as session:
            dead = list(session.execute(self._deleted()).scalars())
            forgotten = datasets.forgotten_sources(session)
        for job_id in dead:
            self._each(partial(self._purge, job_id))
        for dataset in forgotten:
            self._each(partial(self._forget, dataset))
        if time.monotonic() >= self._next_prune:
            retention.prune(self._ctx)
            uploads.sweep(self._ctx)
            self._next_prune = time.monotonic() + _PRUNE_SECONDS

    @staticmethod
    def _each(remove: Callable[[], None]) -> None:
        """One that can't be removed now must not keep the others."""
        try:
            remove()
        except (OSError, StorageError) as exc:
            log.warning("Not removed yet: %s", exc)

    def _silent(self, leased: list[tuple[int, int, int]], now: float) -> list[tuple[int, int, int]]:
        """Those whose beat stood still for a lease; a gap between reads starts the count again."""
        settings = self._ctx.settings.worker
        if now - self._last_read > settings.sweep_seconds * 2.5:
            self._seen.clear()
        self._last_read = now
        fresh: dict[int, _Seen] = {}
        for job_id, attempt, beat in leased:
            old = self._seen.get(job_id)
            same = old is not None and (old.attempt, old.beat) == (attempt, beat)
            fresh[job_id] = old if same and old is not None else _Seen(attempt, beat, now)
        self._seen = fresh
        return [(i, seen.attempt, seen.beat) for i, seen in fresh.items() if now - seen.since >= settings.lease_seconds]

    def _lose(self, own: fence.Ownership, beat: int) -> None:
        error = {
            "class": "killed",
            "message": "The worker fell silent, so the job was taken from it.",
            "advice": "Look at the Workers page: the machine may be off, out of memory, or cut off from the database.",
        }
        with self._ctx.db.session(write=True) as session:
            if not self._lock(session, own, beat):
                return
            state = fence.lose(session, own, max_losses=self._ctx.settings.worker.max_losses, error=error, fence=True)
            self._ctx.bells.changed(session, own.job_id)
        about = {"job": own.job_id, "attempt": own.attempt}
        log.warning("Job %s (attempt %s) was lost: now %s", own.job_id, own.attempt, state, extra=about)

    @staticmethod
    def _lock(session: Session, own: fence.Ownership, beat: int) -> bool:
        query = select(Job.id).where(*own.mine, Job.beat == beat).with_for_update(skip_locked=True)
        return session.exec(query).first() is not None

    @staticmethod
    def _deleted() -> sa.Select[Any]:
        """Those whose files nobody writes any more: an export of a training writes into the training's folder."""
        made = aliased(Job)
        writing = sa.exists().where(
            col(made.subject_id) == col(Job.id),
            col(made.kind).in_([JobKind.EXPORT, JobKind.PUSH]),
            col(made.state).not_in(list(FINAL)),
        )
        gone = sa.and_(col(Job.deleted_at).is_not(None), col(Job.state).in_(list(FINAL)))
        return sa.select(col(Job.id)).where(gone, sa.or_(col(Job.kind) != JobKind.TRAIN, ~writing)).limit(20)

    def _forget(self, dataset: Dataset) -> None:
        with self._ctx.db.session() as session:
            shared = datasets.shares_source(session, dataset)
        if not shared:
            self._ctx.storage.delete(dataset.source_key)
        self._ctx.storage.discard(dataset.source_key + ".part")  # of a fetch that did not end
        with self._ctx.db.session(write=True) as session:
            datasets.forget_source(session, dataset.id or 0)

    def _purge(self, job_id: int) -> None:
        """Rows last: when the files can't be removed, the next round tries again."""
        self._ctx.storage.delete(f"runs/{job_id}")
        with self._ctx.db.session(write=True) as session:
            session.execute(
                sa.delete(Artifact).where(sa.or_(col(Artifact.job_id) == job_id, col(Artifact.made_by) == job_id))
            )
            session.execute(sa.update(Job).where(col(Job.parent_id) == job_id).values(parent_id=None))
            session.execute(sa.delete(Job).where(col(Job.id) == job_id))
            used = sa.select(col(Job.sweep_id)).where(col(Job.sweep_id).is_not(None))
            session.execute(sa.delete(Sweep).where(col(Sweep.id).not_in(used)))
