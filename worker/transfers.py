"""Bytes between this host and shared storage, moved in a thread while the runner goes on to renew the lease."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import Literal

from app.core.context import Context
from app.core.storage import LocalStorage, StorageError, TransferStopped
from worker.recorder import Recorder
from worker.trainer import protocol

log = logging.getLogger(__name__)

#: Renews the lease when it is time for that, and says what is asked of the job. Raises `fence.FencedError`.
Beat = Callable[[], protocol.ControlAction | None]
#: Waits before a failed transfer is tried again, in seconds.
PAUSES: tuple[float, ...] = (1, 4, 15, 40)
_LOOK_SECONDS = 0.1
#: Published checkpoints of an attempt that are kept beside the newest: three in all, as on the disk.
_KEPT = 2
#: A training goes on without one of these.
_SPARE = ("schedule", "request")


def carry(work: Callable[[threading.Event], object], done: Callable[[], bool]) -> bool:
    """Run `work(stop)`, again after a pause when the storage fails, until `done()` says to leave it; False if it did.

    Raises what `done` raises, and what `work` raised at last.
    """
    stop = threading.Event()
    outcome: Future[None] = Future()
    # Not waited for when it is left: a request that hangs must not hold the runner. It writes what no row names.
    threading.Thread(target=_settle, args=(outcome, work, stop), name="transfer", daemon=True).start()
    try:
        while not wait([outcome], _LOOK_SECONDS).done:
            if done():
                return False
    finally:
        stop.set()
    outcome.result()
    return True


def _settle(outcome: Future[None], work: Callable[[threading.Event], object], stop: threading.Event) -> None:
    try:
        _persist(work, stop)
    except BaseException as exc:  # noqa: BLE001 - raised again in the thread that waits
        outcome.set_exception(exc)
    else:
        outcome.set_result(None)


def _persist(work: Callable[[threading.Event], object], stop: threading.Event) -> None:
    for pause in (*PAUSES, None):
        try:
            work(stop)
        except StorageError as exc:
            if exc.lasting or pause is None:
                raise
            log.warning("%s Trying again in %s s.", exc, pause)
            if stop.wait(pause):
                raise TransferStopped from exc
        else:
            return


def fetch(storage: LocalStorage, keys: Sequence[str], beat: Beat) -> bool:
    """Bring `keys` to this host; False when the job was called off meanwhile. Raises `StorageError`."""
    return carry(lambda stop: [storage.ensure(key, stop) for key in keys], lambda: beat() is not None)


class Publisher:
    """Shows other hosts what a child made, before the row is written that names it."""

    def __init__(self, ctx: Context, recorder: Recorder, beat: Beat) -> None:
        self._storage = ctx.storage
        self._recorder = recorder
        self._beat = beat
        self._checkpoints: list[str] = []

    def publish(self, events: list[protocol.Event]) -> list[protocol.Event]:
        """`events` as they may be stored; one whose bytes are not there for all is a log line instead.

        Raises `StorageError`, and `fence.FencedError`.
        """
        if not self._storage.remote:
            return events
        last = max((event.step for event in events if isinstance(event, protocol.Checkpoint)), default=0)
        return [self._published(event, last) for event in events]

    def _published(self, event: protocol.Event, last: int) -> protocol.Event:
        if not isinstance(event, protocol.Checkpoint):
            key = self._recorder.key_of(event)
            uploaded = key is None or self._upload(key)
            return event if uploaded else _said("The job was cancelled while its result was uploaded.")
        name = f"The checkpoint at step {event.step}"
        if event.step < last:
            return _said(f"{name} was not uploaded: a newer one is ready.")
        try:
            return event if self._checkpoint(event) else _said(f"{name} was not uploaded: the job is cancelled.")
        except StorageError as exc:
            if event.reason not in _SPARE:
                raise
            return _said(f"{name} does not count. {exc}", "warning")

    def _checkpoint(self, event: protocol.Checkpoint) -> bool:
        key = self._recorder.key_of(event)
        assert key is not None
        if not self._upload(key):
            return False
        self._checkpoints.append(key)
        return True

    def _upload(self, key: str) -> bool:
        """False when the job was cancelled meanwhile."""
        return carry(lambda stop: self._move(key, stop), lambda: self._beat() == "cancel")

    def _move(self, key: str, stop: threading.Event) -> None:
        try:
            self._storage.publish(key, stop)
        except OSError as exc:
            message = f"{key} can't be read to be uploaded: {exc.strerror or exc}."
            raise StorageError(message, lasting=True) from exc
        self._withdraw_old()

    def _withdraw_old(self) -> None:
        """All but the newest stored ones; what can't be removed now goes with the job."""
        while len(self._checkpoints) > _KEPT:
            with contextlib.suppress(StorageError):
                self._storage.withdraw(self._checkpoints.pop(0))


def _said(message: str, level: Literal["info", "warning"] = "info") -> protocol.Log:
    return protocol.Log(level=level, message=message)
