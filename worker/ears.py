"""A Celery process that hears again: after a restart of Redis, and whatever else made it deaf."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable

import psutil
import sqlalchemy as sa
from kombu.transport import redis, virtual

from app.core.context import Context
from app.domain.jobs.holding import idles_beside_work

log = logging.getLogger(__name__)


class ForgivingQoS(redis.QoS):
    """As kombu 5.7's, but a ring whose acknowledgement is lost gives its place free.

    There it keeps the place for ever, and with nothing prefetched there is one: the worker would fetch no other ring.
    The ring itself may come a second time, which does no harm.
    """

    def ack(self, delivery_tag: str) -> None:
        """Raises what Redis raises."""
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]
        except BaseException:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]
            raise


def hear_again() -> None:
    """For every connection that this process makes from now on."""
    redis.Channel.QoS = ForgivingQoS


class Attention:
    """Looks whether this process stays idle while a job waits that it could take, and then starts it anew.

    Every few seconds the sweepers ring for such a job. Who has not taken it by then does not hear: its connection
    hangs, or the process that works does.
    """

    def __init__(self, ctx: Context, queue: str, draining: Callable[[], bool]) -> None:
        self._ctx = ctx
        self._queue = queue
        self._draining = draining
        self._since: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="attention", daemon=True)

    def start(self) -> None:
        """Begin, unless the settings say never."""
        if self._ctx.settings.worker.deaf_seconds:
            self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()

    def _loop(self) -> None:
        while not self._stop.wait(self._ctx.settings.worker.sweep_seconds):
            try:
                if self.deaf(time.monotonic()):
                    log.warning("Work waits and this worker does not hear it: it starts anew.")
                    start_anew()
            except (sa.exc.SQLAlchemyError, OSError) as exc:
                log.warning("This worker could not see whether work waits: %s", exc)

    def deaf(self, now: float) -> bool:
        """Whether it has been idle beside work for `deaf_seconds`; `now` in seconds of a clock that only goes on."""
        with self._ctx.db.session() as session:
            idle = idles_beside_work(session, self._queue, self._ctx.settings.worker_name)
        if not idle or self._draining():
            self._since = None
            return False
        self._since = now if self._since is None else self._since
        return now - self._since >= self._ctx.settings.worker.deaf_seconds


def start_anew() -> None:
    """The same program in the same process, without the processes that work for it: they hold no job."""
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "worker.celery_app", *sys.argv[1:]])  # noqa: S606 - our own
