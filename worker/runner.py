"""Claims a job, runs its child, stores what the child says, keeps the lease, and writes how it ended.

Every write is fenced by the attempt: once the job belongs to someone else, the child is ended and nothing is written.
Longer than most files here: an attempt is one story, from the claim to the final state.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from app.core.context import Context
from app.core.logging import about_job
from app.core.storage import StorageError
from app.domain.errors import DomainError, NoSpaceError
from app.domain.jobs import fence, service
from app.domain.jobs.models import Job
from app.domain.jobs.states import JobKind, JobState
from app.domain.space.estimate import ADVICE
from app.domain.workers import service as workers
from worker.endings import failure, killed, parse_lines, passing
from worker.process import ChildProcess
from worker.recorder import Recorder
from worker.room import need_room
from worker.standby import StandBy
from worker.trainer import checkpoints, protocol
from worker.transfers import Publisher, carry, fetch
from worker.watch import Watch
from worker.workspace import Workspace

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.25
_COALESCE_SECONDS = 0.02
_MAX_BYTES = 1_000_000
_CONTROL: dict[JobState, protocol.ControlAction] = {JobState.PAUSING: "pause", JobState.CANCELLING: "cancel"}
_BUG = "This looks like a fault in Tunedeck; the details below help to mend it."
_OUTCOMES = {"pause": "paused", "cancel": "cancelled", "drain": "drained"}


class Runner:
    """Works off one queue, one job at a time."""

    def __init__(
        self,
        ctx: Context,
        worker: str,
        queue: str,
        draining: Callable[[], bool] = lambda: False,
        standby: StandBy | None = None,
    ) -> None:
        self._ctx = ctx
        self._standby = standby
        self._worker = worker
        self._queue = queue
        self._draining = draining

    def run_waiting(self) -> int:
        """Run jobs until none waits or the worker is to stop; how many there were."""
        count = 0
        while not self._draining():
            with self._ctx.db.session(write=True) as session:
                job = service.claim(session, self._queue, self._worker)
                if job is not None:
                    self._ctx.bells.changed(session, job.id or 0)
            if job is None:
                break
            about = {"job": job.id, "attempt": job.attempt}
            log.info("%s %s: attempt %s begins (%s)", job.kind, job.id, job.attempt, job.name, extra=about)
            Run(self._ctx, job, self._draining, self._standby).run()
            count += 1
        return count


class Run:
    """One attempt of one job."""

    def __init__(self, ctx: Context, job: Job, draining: Callable[[], bool], standby: StandBy | None = None) -> None:
        self._ctx = ctx
        self._standby = standby
        self._job = job
        self._own = fence.Ownership(job.id or 0, job.attempt)
        self._draining = draining
        self._recorder = Recorder(ctx, job)
        self._publisher = Publisher(ctx, self._recorder, self._keep_lease)
        self._tail = 0
        self._last_store = float("-inf")
        self._last_beat = time.monotonic()
        self._wish: protocol.ControlAction | None = None
        self._end: protocol.Done | protocol.Error | None = None
        self._child: ChildProcess | None = None
        self._secrets: dict[str, str] = {}
        self._too_much: dict[str, Any] | None = None

    def run(self) -> None:
        """From the claim to the final state."""
        with about_job(self._own.job_id, self._own.attempt):
            try:
                self._work()
            except fence.FencedError:
                log.warning("%s %s: attempt %s was fenced off", self._job.kind, self._job.id, self._job.attempt)
            finally:
                if self._child is not None:
                    self._child.close()

    def _work(self) -> None:
        try:
            if self._start():
                self._follow()
                self._finish()
        except StorageError as exc:
            self._leave_unstored(exc)
        except fence.FencedError:
            raise
        except Exception as exc:
            log.exception("%s %s: attempt %s broke off", self._job.kind, self._job.id, self._job.attempt)
            self._give_up(failure("bug", f"{type(exc).__name__}: {exc}"[:2000], _BUG, traceback.format_exc()[-20_000:]))

    def _start(self) -> bool:
        try:
            if not (self._fetch() and self._prepare()):
                self._write_end(lambda session: fence.finish(session, self._own, _OUTCOMES[self._wish or "drain"]))
                return False
            self._launch()
        except NoSpaceError as exc:
            error = failure("disk_full", exc.message, ADVICE)
        except DomainError as exc:
            error = failure("bad_data", exc.message)
        except OSError as exc:
            advice = "Free some space on the worker's disk, then retry the job."
            error = failure("disk_full", f"The job folder can't be written: {exc}.", advice)
        else:
            return True
        self._write_end(lambda session: fence.fail(session, self._own, error))
        return False

    def _fetch(self) -> bool:
        """Begin, and bring here what the job needs; False when it was called off meanwhile."""
        with self._ctx.db.session(write=True) as session:
            fence.beat(session, self._own)
            self._recorder.begin(session)
        self._pass_over_damaged()
        if not self._ctx.storage.remote:
            return True
        with self._ctx.db.session() as session:
            needs = Workspace(self._ctx, session, self._job).needs()
        return fetch(self._ctx.storage, needs, self._keep_lease)

    def _pass_over_damaged(self) -> None:
        """Until the newest checkpoint is whole and on this host, or there is none."""
        while True:
            with self._ctx.db.session() as session:
                last = service.newest_checkpoint(session, self._job.id or 0)
            if last is None or self._is_whole(last.storage_key):
                return
            with self._ctx.db.session(write=True) as session:
                self._recorder.pass_over(session, last)

    def _is_whole(self, key: str) -> bool:
        """Whether the checkpoint at `key` is undamaged; where bytes are shared, fetched again if need be."""
        storage = self._ctx.storage
        if checkpoints.is_complete(storage.path(key)) or not storage.remote:
            return checkpoints.is_complete(storage.path(key))
        storage.discard(key)
        try:
            if not fetch(storage, [key], self._keep_lease):
                return True  # called off: what follows sees it too
        except StorageError as exc:
            if not exc.damaged:
                raise
        return checkpoints.is_complete(storage.path(key))

    def _prepare(self) -> bool:
        """Fill the job folder; False when the job was called off meanwhile."""
        with self._ctx.db.session() as session:
            need_room(self._ctx, session, self._job)
            space = Workspace(self._ctx, session, self._job)
            self._dir = space.prepare()
        self._secrets, self._written = space.secrets, space.written
        return carry(space.write_rows, lambda: self._keep_lease() is not None)

    def _launch(self) -> None:
        kind = JobKind(self._job.kind)
        ready = self._standby.take() if self._standby and kind == JobKind.TRAIN else None
        self._child = ChildProcess(kind, self._dir, self._ctx.settings, self._secrets, ready)
        self._watch = Watch(self._ctx.settings.worker, self._child.pid, self._written)

    @property
    def _running(self) -> ChildProcess:
        assert self._child is not None
        return self._child

    def _follow(self) -> None:
        """Until the child has ended and its last line is stored."""
        while True:
            code = self._running.exit_code()
            if not self._store_lines() and code is not None:
                return
            if code is None:
                self._running.wait_for_news(_LOOK_SECONDS)
                self._keep_lease()
                self._hold_to_limits()

    def _hold_to_limits(self) -> None:
        """End a job that takes more of this host than it may, so that the others live on."""
        self._too_much = self._too_much or self._watch.too_much()
        if self._too_much is not None:
            self._running.kill()

    def _keep_lease(self) -> protocol.ControlAction | None:
        """Renew the lease when it is time for that; what is asked of the job is returned and passed to the child."""
        if time.monotonic() - self._last_beat >= self._ctx.settings.worker.beat_seconds:
            self._renew()
        if self._child is not None:
            self._child.escalate()
        return self._wish

    def _renew(self) -> None:
        try:
            with self._ctx.db.session(write=True) as session:
                state = fence.beat(session, self._own)
                drained = workers.is_draining(session, self._job.worker, self._job.queue)
        except sa.exc.DBAPIError as exc:
            if not passing(exc):
                raise
            log.warning("The lease of job %s could not be renewed: %s", self._job.id, exc)
            self._last_beat = time.monotonic() - self._ctx.settings.worker.beat_seconds / 2
            return
        self._last_beat = time.monotonic()
        self._wish = _CONTROL.get(state) or ("drain" if drained or self._draining() else None)
        if self._child is not None:
            self._child.renew()
            if self._wish is not None:
                self._child.ask(self._wish)

    def _store_lines(self) -> bool:
        """Store the whole lines that are new; False when there were none."""
        path = self._dir / protocol.EVENTS_FILE
        if not path.exists():
            return False
        wait = self._last_store + _COALESCE_SECONDS - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        with path.open("rb") as file:
            file.seek(self._tail)
            data = file.read(_MAX_BYTES)
            while data and b"\n" not in data and (more := file.read(_MAX_BYTES)):
                data += more
        whole = data[: data.rfind(b"\n") + 1]
        if not whole:
            return False
        self._store(parse_lines(whole), self._tail + len(whole))
        self._last_store = time.monotonic()
        return True

    def _store(self, events: list[protocol.Event], new_tail: int) -> None:
        events = self._publisher.publish(events)
        pause, old = 0.1, list[str]()
        while True:
            try:
                with self._ctx.db.session(write=True) as session:
                    old = self._recorder.store(session, events, self._tail, new_tail)
                break
            except sa.exc.DBAPIError as exc:
                if not passing(exc):
                    raise
                log.warning("Events of job %s could not be stored yet: %s", self._job.id, exc)
                time.sleep(pause)
                pause = min(pause * 2, 5.0)
                if self._is_stored(new_tail):
                    break
        self._tail = new_tail
        self._publisher.drop(old)
        for event in events:
            if isinstance(event, protocol.Done | protocol.Error):
                self._end = event

    def _is_stored(self, new_tail: int) -> bool:
        """After a commit whose outcome is unknown: whether it went through. Asked until there is an answer."""
        while True:
            try:
                with self._ctx.db.session() as session:
                    return fence.stored_tail(session, self._own) >= new_tail
            except sa.exc.DBAPIError as exc:
                if not passing(exc):
                    raise
                time.sleep(1.0)

    def _finish(self) -> None:
        end, code = self._end, self._running.exit_code()
        if isinstance(end, protocol.Error):
            error = failure(end.error_class, end.message, end.advice, end.traceback)
            state = self._write_end(lambda session: fence.fail(session, self._own, error))
        elif isinstance(end, protocol.Done) and code == 0:
            state = self._write_end(lambda session: fence.finish(session, self._own, end.outcome))
        elif self._too_much is not None:
            error = self._too_much
            state = self._write_end(lambda session: fence.fail(session, self._own, error))
        else:
            error = killed(code, self._running.last_output())
            most = self._ctx.settings.worker.max_losses
            state = self._write_end(lambda session: fence.lose(session, self._own, max_losses=most, error=error))
        log.info("%s %s: attempt %s ended, now %s", self._job.kind, self._job.id, self._job.attempt, state)

    def _leave_unstored(self, exc: StorageError) -> None:
        """What was made stays on this host. Another attempt goes on from what is stored, unless it is no use to try."""
        advice = "Look at the storage with `tunedeck doctor` on the worker's host, then run the job again. "
        error = failure("storage_unreachable", str(exc), advice + f"What was made stays in {self._recorder.folder}.")
        self._give_up(error, at_once=exc.lasting)

    def _give_up(self, error: dict[str, Any], *, at_once: bool = False) -> None:
        """End the child and count a loss: another attempt may do better, unless `at_once`."""
        if self._child is not None:
            self._child.kill()
        most = 0 if at_once else self._ctx.settings.worker.max_losses
        self._write_end(lambda session: fence.lose(session, self._own, max_losses=most, error=error))

    def _write_end(self, write: Callable[[Any], JobState]) -> JobState:
        while True:
            try:
                with self._ctx.db.session(write=True) as session:
                    state = write(session)
                    if state == JobState.FAILED:
                        job = session.get(Job, self._own.job_id, populate_existing=True)
                        self._recorder.failed(session, job.error if job else {})
                    self._ctx.bells.changed(session, self._own.job_id)
                return state
            except sa.exc.DBAPIError as exc:
                if not passing(exc):
                    raise
                log.warning("The end of job %s could not be stored yet: %s", self._job.id, exc)
                time.sleep(1.0)
