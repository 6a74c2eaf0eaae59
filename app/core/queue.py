"""The doorbell to the workers: the only place that knows the task's name. It carries nothing but the queue."""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import redis

if TYPE_CHECKING:
    from celery import Celery

RING = "tunedeck.ring"
#: A sender gives up at once when the broker is away; without this each ring takes six seconds.
_ONE_TRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
#: More messages than this wake no further worker.
_UNHEARD = 16
_REST_SECONDS = 5.0
log = logging.getLogger(__name__)


class Doorbell(Protocol):
    """Calls the workers of a queue."""

    def ring(self, queue: str) -> None:
        """There may be work in `queue`."""


@lru_cache
def make_celery(broker: str, *, watched: bool = False) -> Celery:
    """The Celery application: JSON only, early acknowledgement, no results, nothing prefetched, no retry.

    `watched`: report tasks and listen to remote control.
    """
    from celery import Celery  # a quarter of the web process's start, and not needed before the first job

    app = Celery("tunedeck", broker=broker, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_send_task_events=watched,
        worker_enable_remote_control=watched,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 2} | _ONE_TRY,
        task_publish_retry=False,
    )
    return app


class Rest:
    """A broker that hangs costs one wait of a second, not one for every event and every click: then it is let be."""

    def __init__(self) -> None:
        self._until = float("-inf")

    def goes_on(self) -> bool:
        """Whether nobody should ask the broker now."""
        return time.monotonic() < self._until

    def after(self, exc: Exception) -> None:
        """It did not answer. One that refuses at once costs nothing, and may be asked again at once."""
        if isinstance(exc, redis.TimeoutError):
            self._until = time.monotonic() + _REST_SECONDS


class CeleryDoorbell:
    """Rings over the broker. A ring that is lost does no harm: the sweeper rings again."""

    def __init__(self, broker: str, redis_url: str) -> None:
        self._broker = broker
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=1, socket_connect_timeout=1)
        self._rest = Rest()

    def ring(self, queue: str) -> None:
        """There may be work in `queue`. Enough unheard rings are enough: behind a long job they would pile up."""
        from kombu.exceptions import OperationalError

        if self._rest.goes_on():
            return
        try:
            if self._redis.llen(queue) >= _UNHEARD:
                return
            make_celery(self._broker).send_task(RING, args=[queue], queue=queue)
        except (OperationalError, redis.RedisError) as exc:
            self._rest.after(exc)
            log.warning("The broker does not answer (%s); the sweeper will ring again.", exc)
