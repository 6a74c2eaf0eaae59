"""A Celery process that hears again: after a restart of Redis, and whatever else made it deaf."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import sqlalchemy as sa
from kombu import compression
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


#: What a message that nobody of ours wrote may raise on its way in. Of a broker that is away come other errors.
_GARBAGE = (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, NotImplementedError)


class ForgivingChannel(redis.Channel):
    """As kombu 5.7's, but what is no message at all is thrown away. There it ends the worker, and its job with it."""

    def _brpop_read(self, **options: Any) -> Any:
        return self._heard(super()._brpop_read, **options)

    def _receive(self) -> Any:
        return self._heard(super()._receive)

    def _heard(self, read: Callable[..., Any], **options: Any) -> Any:
        before = set(self.qos._delivered)  # noqa: SLF001 - kombu has no word for it
        try:
            return read(**options)
        except _GARBAGE as exc:
            log.warning("Something in the broker is no message of ours and was thrown away: %s", type(exc).__name__)
        for tag in set(self.qos._delivered) - before:  # noqa: SLF001 - likewise
            self.qos.ack(tag)  # one that is not given back would keep the only place
        return True


def hear_again() -> None:
    """For every connection that this process makes from now on."""
    redis.Channel.QoS = ForgivingQoS
    redis.Transport.Channel = ForgivingChannel
    compression._decoders.clear()  # noqa: SLF001 - a ring is never compressed, and a bomb is not unpacked


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
