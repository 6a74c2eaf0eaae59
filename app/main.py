"""The web process: `create_app()` wires the rooms together. Nothing is decided here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.core.context import make_context
from app.core.settings import Settings, resource_dir
from app.domain.jobs.sweeper import Sweeper
from app.web import errors, stream
from app.web.api import jobs as api_jobs
from app.web.api import queues as api_queues
from app.web.api import workers as api_workers
from app.web.attendance import Attendance
from app.web.guard import Guard
from app.web.hub import Hub
from app.web.pages import (
    artifacts,
    datasets,
    health,
    home,
    jobs,
    metrics,
    models,
    new_job,
    notifications,
    settings,
    storage,
    workers,
)
from app.web.statics import Compress, Static


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The hub listens and the sweeper sweeps as long as the process serves."""
    sweeper = Sweeper(app.state.ctx)
    sweeper.start()
    app.state.hub.start()
    attendance = Attendance(app.state.ctx, app.state.hub.open_streams)
    attendance.start()
    yield
    await attendance.stop()
    await app.state.hub.stop()
    sweeper.stop()
    app.state.ctx.db.dispose()


def create_app(settings_: Settings | None = None) -> FastAPI:
    """The application for `settings` (this process's own when left out)."""
    ctx = make_context(settings_)
    about = 'Everything that can be done with a job, as JSON. Refusals have one shape: `{"error": {…}}`.'
    app = FastAPI(
        title="Tunedeck",
        description=about,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.state.ctx, app.state.hub = ctx, Hub(ctx)
    for room in (
        health,
        metrics,
        stream,
        home,
        datasets,
        new_job,
        jobs,
        artifacts,
        models,
        workers,
        notifications,
        settings,
        storage,
    ):
        app.include_router(room.router, include_in_schema=False)
    for calls in (api_jobs, api_queues, api_workers):
        app.include_router(calls.router)
    app.mount("/static", Static(resource_dir("static")), name="static")
    errors.install(app)
    app.add_middleware(Compress)
    app.add_middleware(Guard, allowed_hosts=ctx.settings.web.allowed_hosts)
    return app
