"""How many live streams all web processes hold: each tells its own number, under a key that runs out by itself."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import Callable

import redis
import redis.asyncio as aredis

from app.core.context import Context

_PREFIX = "tunedeck:streams:"
TELL_SECONDS = 5.0
_NUMBER = re.compile(rb"[0-9]{1,9}")


class Attendance:
    """Tells this process's number as long as it serves."""

    def __init__(self, ctx: Context, count: Callable[[], int]) -> None:
        self._url = ctx.settings.redis
        self._count = count
        self._key = _PREFIX + secrets.token_hex(8)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running loop."""
        self._task = asyncio.create_task(self._tell())

    async def stop(self) -> None:
        """End; the number is forgotten."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _tell(self) -> None:
        client = aredis.Redis.from_url(self._url, socket_connect_timeout=2, socket_timeout=2)
        try:
            while True:
                with contextlib.suppress(redis.RedisError, OSError):
                    await client.set(self._key, self._count(), ex=round(TELL_SECONDS * 4))
                await asyncio.sleep(TELL_SECONDS)
        finally:
            with contextlib.suppress(redis.RedisError, OSError):
                await client.delete(self._key)
            await client.aclose()


def streams(url: str) -> list[int] | None:
    """The number of each web process; None when the broker does not answer."""
    with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
        try:
            keys = list(client.scan_iter(f"{_PREFIX}*", count=1000))
            told = client.mget(keys) if keys else []
            return [int(value) for value in told if value is not None and _NUMBER.fullmatch(value)]
        except (redis.RedisError, OSError):
            return None
