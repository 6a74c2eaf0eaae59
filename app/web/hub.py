"""The one ear of a web process: hears the bell, reads the database once for all watchers, hands out.

The bell is a hint that may be lost; a look once a second makes up for it while any job is alive and anybody watches.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TypeVar

import redis.asyncio as aredis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from app.core.context import Context
from app.core.live import CHANNEL
from app.web.news import Message, look_at, snapshot

log = logging.getLogger(__name__)
Found = TypeVar("Found")
#: Messages that may wait for one slow watcher; then its stream is closed and it resumes where it was.
QUEUE_SIZE = 512
LOOK_SECONDS = 1.0
#: Looks left out while the broker is away and nothing is known to be alive.
QUIET_LOOKS = 5
RECONNECT_SECONDS = 2.0
_JOB = re.compile(rb"[0-9]{1,9}")


class Watcher:
    """One open stream of one job."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Message] = asyncio.Queue(QUEUE_SIZE)
        self.overflowed = False

    def give(self, messages: Iterable[Message]) -> None:
        """Queue them; a full queue closes the stream."""
        try:
            for message in messages:
                self.queue.put_nowait(message)
        except asyncio.QueueFull:
            self.overflowed = True


class Hub:
    """Watchers of single jobs, and those who only want to hear that something changed."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._watchers: dict[int, set[Watcher]] = {}
        self._last: dict[int, int] = {}
        self._hints: set[asyncio.Event] = set()
        self._dirty: set[int] = set()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._connected = False
        self._active = True
        self._seen: dict[int, int] = {}

    def start(self) -> None:
        """Begin, in the running loop."""
        self._tasks = [asyncio.create_task(work) for work in (self._listen(), self._pump(), self._look_out())]

    async def stop(self) -> None:
        """End every task."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def open_streams(self) -> int:
        """How many streams this process holds."""
        return sum(map(len, self._watchers.values())) + len(self._hints)

    async def read(self, query: Callable[[Session], Found]) -> Found:
        """One short read in a thread."""
        return await asyncio.to_thread(self._read, query)

    def _read(self, query: Callable[[Session], Found]) -> Found:
        with self._ctx.db.session() as session:
            return query(session)

    @contextlib.asynccontextmanager
    async def watch(self, job_id: int, newest: int) -> AsyncIterator[Watcher]:
        """A watcher of `job_id`. `newest`: the job's last event number a moment ago; read the backlog inside."""
        watcher = Watcher()
        self._watchers.setdefault(job_id, set()).add(watcher)
        self._last.setdefault(job_id, newest)
        self._active = True
        try:
            yield watcher
        finally:
            self._watchers[job_id].discard(watcher)
            if not self._watchers[job_id]:
                del self._watchers[job_id], self._last[job_id]

    @contextlib.contextmanager
    def hints(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever any job changed; clear it after use."""
        hint = asyncio.Event()
        self._hints.add(hint)
        self._active = True
        try:
            yield hint
        finally:
            self._hints.discard(hint)

    def ring(self, job_id: int) -> None:
        """Job `job_id` changed."""
        self._active = True
        self._dirty.add(job_id)
        self._wake.set()
        for hint in self._hints:
            hint.set()

    async def _listen(self) -> None:
        client = aredis.Redis.from_url(self._ctx.settings.redis, socket_connect_timeout=2)
        try:
            while True:
                with contextlib.suppress(RedisError, OSError):
                    await self._hear(client)
                self._connected = False
                await asyncio.sleep(RECONNECT_SECONDS)
        finally:
            await client.aclose()

    async def _hear(self, client: aredis.Redis) -> None:
        async with client.pubsub() as channel:
            await channel.subscribe(CHANNEL)
            self._connected, self._active = True, True
            async for message in channel.listen():
                # Whoever reaches the broker may publish anything: what is no job's number is not heard.
                if message["type"] == "message" and _JOB.fullmatch(message["data"]):
                    self.ring(int(message["data"]))

    async def _pump(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            dirty, self._dirty = self._dirty, set()
            if self._watchers:
                with self._away():
                    await self._hand_out(dirty)

    async def _hand_out(self, dirty: set[int]) -> None:
        last = dict(self._last)
        news = await self.read(lambda session: look_at(session, dirty, last))
        for job_id, messages in news.items():
            if job_id in self._last:
                self._last[job_id] = max(self._last[job_id], *(message.seq for message in messages), 0)
            for watcher in self._watchers.get(job_id, ()):
                watcher.give(messages)

    async def _look_out(self) -> None:
        tick = 0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            tick += 1
            wanted = self._active or (not self._connected and tick % QUIET_LOOKS == 0)
            if wanted and (self._watchers or self._hints):
                with self._away():
                    await self._look()

    async def _look(self) -> None:
        seen = await self.read(snapshot)
        changed = {job_id for job_id, _ in seen.items() ^ self._seen.items()}
        self._seen = seen
        for job_id in changed:
            self.ring(job_id)
        self._active = bool(seen)
        # A watched job that ended before the first look was in neither snapshot; one more reading tells its end.
        missed = {job_id for job_id, last in self._last.items() if seen.get(job_id, last + 1) > last}
        if missed:
            self._dirty |= missed
            self._wake.set()

    @staticmethod
    @contextlib.contextmanager
    def _away() -> Iterator[None]:
        """A database that is away for a moment must not end the ear."""
        try:
            yield
        except SQLAlchemyError as exc:
            log.warning("The live pages could not read the database: %s", exc)
