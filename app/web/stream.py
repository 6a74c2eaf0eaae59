"""Live pages: the events of one job, and one hint stream for lists and home. No session is held while waiting."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from functools import partial

from fastapi import APIRouter, Request
from sqlmodel import Session
from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from app.domain.jobs import service
from app.web.deps import MAX_ID, Id
from app.web.doors import limit_key
from app.web.hub import Hub, Watcher
from app.web.limits import Limits
from app.web.news import CHANGED, END, Message, backlog, encode, is_over

router = APIRouter()
#: Further behind than this, the page is told to fetch its panels again.
MAX_BEHIND = 2_000
HINT_SECONDS = 1.0
PING_SECONDS = 15
BYE = Message(0, b"event: bye\ndata: {}\nretry: 1000\n\n", ends=True)


@router.get("/jobs/{job_id}/events")
async def job_events(request: Request, job_id: Id, after: int = 0) -> EventSourceResponse:
    """Every event of a job after `after`, or after the browser's Last-Event-ID, and those to come."""
    hub: Hub = request.app.state.hub
    newest = await hub.read(lambda session: _newest(session, job_id))
    start = _start(request.headers.get("last-event-id", ""), after)
    return _stream(request, _follow(hub, job_id, start, newest, _life(request)))


@router.get("/changed")
async def changed(request: Request) -> EventSourceResponse:
    """One `changed` event a second at most, whenever anything about any job changed."""
    return _stream(request, _hint(request.app.state.hub, _life(request)))


def _newest(session: Session, job_id: int) -> int:
    service.get_job(session, job_id)
    return service.last_seq(session, job_id)


def _start(last_event_id: str, after: int) -> int:
    given = int(last_event_id) if re.fullmatch(r"[0-9]{1,15}", last_event_id) else after
    return min(max(given, 0), MAX_ID)


def _life(request: Request) -> float:
    # Spread a little, so that a thousand pages opened at once do not come back at once.
    seconds: int = request.app.state.ctx.settings.web.stream_seconds
    return seconds * random.uniform(0.9, 1.0)  # noqa: S311 - no secret


class Stream(EventSourceResponse):
    """Counted from when it is made until it has ended, whether or not anything was ever sent."""

    def __init__(self, messages: AsyncIterator[bytes], limits: Limits, key: str) -> None:
        super().__init__(messages, ping=PING_SECONDS, send_timeout=10, sep="\n")
        self._limits, self._key = limits, key
        if key:
            limits.take_stream(key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._key:
                self._limits.give_stream(self._key)


def _stream(request: Request, messages: AsyncIterator[bytes]) -> EventSourceResponse:
    """Raises `TooManyError` when this person has as many live pages as one may have."""
    return Stream(messages, request.app.state.limits, limit_key(request))


async def _follow(hub: Hub, job_id: int, start: int, newest: int, life: float) -> AsyncIterator[bytes]:
    end = asyncio.get_running_loop().time() + life
    async with hub.watch(job_id, newest) as watcher:
        seen = start
        # Asked before the backlog is read: what is over now can't be followed by an event that the backlog lacks.
        over = await hub.read(partial(is_over, job_id=job_id))
        async for message in _missed(hub, job_id, start, newest):
            seen = max(seen, message.seq)
            yield message.data
        if over:
            yield END.data
            return
        while True:
            message = await _next(watcher, end)
            if message.seq == 0 or message.seq > seen:
                seen = max(seen, message.seq)
                yield message.data
            if message.ends:
                return


async def _missed(hub: Hub, job_id: int, start: int, newest: int) -> AsyncIterator[Message]:
    if newest - start > MAX_BEHIND:
        yield encode("reset", {}, newest)
        start = newest
    while batch := await hub.read(partial(backlog, job_id=job_id, after=start)):
        for message in batch:
            yield message
        start = batch[-1].seq


async def _next(watcher: Watcher, end: float) -> Message:
    if watcher.overflowed:
        return BYE
    try:
        async with asyncio.timeout_at(end):
            return await watcher.queue.get()
    except TimeoutError:
        return BYE


async def _hint(hub: Hub, life: float) -> AsyncIterator[bytes]:
    end = asyncio.get_running_loop().time() + life
    with hub.hints() as hint:
        hint.set()  # what changed between the page's making and this stream would be missed for good
        while True:
            try:
                async with asyncio.timeout_at(end):
                    await hint.wait()
            except TimeoutError:
                yield BYE.data
                return
            hint.clear()
            yield CHANGED.data
            await asyncio.sleep(HINT_SECONDS)
