"""Bytes between this host and shared storage, moved in a thread while the runner goes on to renew the lease."""

from __future__ import annotations

import logging
import math
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from pathlib import Path, PurePosixPath
from typing import Literal

from app.core.context import Context
from app.core.storage import LocalStorage, StorageError, TransferStopped
from worker.recorder import Recorder
from worker.trainer import checkpoints, protocol

log = logging.getLogger(__name__)

#: Renews the lease when it is time for that, and says what is asked of the job. Raises `fence.FencedError`.
Beat = Callable[[], protocol.ControlAction | None]
#: Waits before a failed transfer is tried again, in seconds.
PAUSES: tuple[float, ...] = (1, 4, 15, 40)
_LOOK_SECONDS = 0.1
#: Beside an attempt's checkpoints: what is being uploaded, out of the trainer's reach.
_ASIDE = ".uploading"
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
        #: Of the checkpoints of this attempt that were uploaded.
        self._lowest = math.inf

    def publish(self, events: list[protocol.Event]) -> list[protocol.Event]:
        """`events` as they may be stored; one whose bytes are not there for all is a log line instead.

        Raises `StorageError`, and `fence.FencedError`.
        """
        if not self._storage.remote:
            return events
        saved = [event for event in events if isinstance(event, protocol.Checkpoint)]
        # An upload may take longer than the trainer keeps a checkpoint: the files are put aside before the first one.
        aside = {event.step: self._set_aside(event) for event in self._wanted(saved)}
        try:
            return [self._published(event, aside) for event in events]
        finally:
            shutil.rmtree(self._recorder.folder / _ASIDE, ignore_errors=True)

    def _wanted(self, saved: list[protocol.Checkpoint]) -> list[protocol.Checkpoint]:
        """Of those that came together the newest, and the best if it is better than any before."""
        newest = max(saved, key=lambda event: event.step, default=None)
        best = min(saved, key=_loss_of, default=None)
        better = [best] if best and best is not newest and _loss_of(best) < self._lowest else []
        return [*better, newest] if newest else []

    def _set_aside(self, event: protocol.Checkpoint) -> Path | None:
        """Where its files stay until they are uploaded; None when they are gone already."""
        key = self._key_of(event)
        aside = self._recorder.folder / _ASIDE / PurePosixPath(key).name
        try:
            checkpoints.set_aside(self._storage.path(key), aside)
        except OSError as exc:
            log.warning("%s can't be read to be uploaded: %s", key, exc)
            return None
        return aside

    def _key_of(self, event: protocol.Checkpoint) -> str:
        key = self._recorder.key_of(event)
        assert key is not None
        return key

    def _published(self, event: protocol.Event, aside: dict[int, Path | None]) -> protocol.Event:
        if not isinstance(event, protocol.Checkpoint):
            key = self._recorder.key_of(event)
            uploaded = key is None or self._upload(key)
            return event if uploaded else _said("The job was cancelled while its result was uploaded.")
        name = f"The checkpoint at step {event.step}"
        if event.step not in aside:
            return _said(f"{name} was not uploaded: a newer one is ready.")
        try:
            uploaded = self._checkpoint(event, aside[event.step])
        except StorageError as exc:
            if event.reason not in _SPARE:
                raise
            return _said(f"{name} does not count. {exc}", "warning")
        return event if uploaded else _said(f"{name} was not uploaded: the job is cancelled.")

    def _checkpoint(self, event: protocol.Checkpoint, aside: Path | None) -> bool:
        key = self._key_of(event)
        if aside is None:
            message = f"{key} can't be read to be uploaded."
            raise StorageError(message, lasting=True)
        uploaded = self._upload(key, aside)
        if uploaded:
            self._lowest = min(self._lowest, _loss_of(event))
        return uploaded

    def _upload(self, key: str, source: Path | None = None) -> bool:
        """False when the job was cancelled meanwhile."""
        return carry(lambda stop: self._move(key, stop, source), lambda: self._beat() == "cancel")

    def _move(self, key: str, stop: threading.Event, source: Path | None) -> None:
        try:
            self._storage.publish(key, stop, source)
        except OSError as exc:
            message = f"{key} can't be read to be uploaded: {exc.strerror or exc}."
            raise StorageError(message, lasting=True) from exc

    def drop(self, keys: Sequence[str]) -> None:
        """Remove checkpoints that no row names any more, here and for all; what can't be removed goes with the job."""
        if keys:
            carry(lambda _stop: self._remove(keys), lambda: self._beat() == "cancel")

    def _remove(self, keys: Sequence[str]) -> None:
        for key in keys:
            try:
                self._storage.delete(key)
            except (OSError, StorageError) as exc:
                log.warning("The old checkpoint %s stays for now: %s", key, exc)


def _loss_of(event: protocol.Checkpoint) -> float:
    return math.inf if event.eval_loss is None else event.eval_loss


def _said(message: str, level: Literal["info", "warning"] = "info") -> protocol.Log:
    return protocol.Log(level=level, message=message)
