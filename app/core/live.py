"""The bell: a hint over Redis pub/sub that something about a job changed. The database holds the truth."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import redis
from sqlalchemy.orm import Session

from app.core.db import after_commit
from app.core.queue import Doorbell, Rest

CHANNEL = "tunedeck:live"
log = logging.getLogger(__name__)


class Bell:
    """Rings `CHANNEL` with a job's id. A broker that is away is logged once and never in the way."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
        self._rest = Rest()
        self._silent = False

    def ring(self, job_id: int) -> None:
        """Tell listeners to look at job `job_id`."""
        if self._rest.goes_on():
            return
        try:
            self._redis.publish(CHANNEL, job_id)
            self._silent = False
        except redis.RedisError as exc:
            self._rest.after(exc)
            if not self._silent:
                log.warning("The broker does not answer (%s); pages follow by their safety poll.", exc)
            self._silent = True


@dataclass(frozen=True)
class Bells:
    """The two bells a transaction may ring once it is committed."""

    doorbell: Doorbell
    live: Bell

    def work(self, session: Session, queue: str) -> None:
        """There is work in `queue`."""
        after_commit(session, lambda: self.doorbell.ring(queue))

    def changed(self, session: Session, job_id: int) -> None:
        """Something about job `job_id` changed."""
        after_commit(session, lambda: self.live.ring(job_id))
