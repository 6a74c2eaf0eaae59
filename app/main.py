"""The web process: `create_app()` wires the rooms together. Nothing is decided here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI

from app.core.context import make_context
from app.core.net import is_loopback
from app.core.settings import Settings, resource_dir
from app.domain.jobs.sweeper import Sweeper
from app.web import errors, stream
from app.web.api import datasets as api_datasets
from app.web.api import jobs as api_jobs
from app.web.api import queues as api_queues
from app.web.api import sweeps as api_sweeps
from app.web.api import workers as api_workers
from app.web.attendance import Attendance
from app.web.doors import authorize
from app.web.guard import Guard
from app.web.hub import Hub
from app.web.language import Speaking
from app.web.limits import Limits
from app.web.pages import (
    account,
    artifacts,
    compare,
    curves,
    dataset_files,
    dataset_rows,
    datasets,
    health,
    home,
    job_list,
    joblog,
    jobs,
    language,
    mapping,
    metrics,
    models,
    new_job,
    notifications,
    people,
    row_list,
    settings,
    sign_in,
    sources,
    storage,
    sweeps,
    trail,
    uploads,
    versions,
    workers,
)
from app.web.parts import Digests
from app.web.statics import Compress, Static

#: Pages, in the order in which their addresses are tried.
_ROOMS = (
    health,
    metrics,
    sign_in,
    account,
    language,
    stream,
    home,
    dataset_files,
    uploads,
    sources,
    dataset_rows,
    row_list,
    versions,
    datasets,
    mapping,
    new_job,
    job_list,
    jobs,
    joblog,
    curves,
    compare,
    sweeps,
    artifacts,
    models,
    workers,
    notifications,
    people,
    trail,
    settings,
    storage,
)


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
    about = 'Data sets, and everything that can be done with a job, as JSON. Refusals have one shape: `{"error": {…}}`.'
    app = FastAPI(
        title="Tunedeck",
        description=about,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        # scope="function": what it writes is committed before the answer is sent.
        dependencies=[Depends(authorize, scope="function")],
    )
    app.state.ctx, app.state.hub, app.state.limits = ctx, Hub(ctx), Limits(ctx.settings.limits)
    app.state.digests = Digests()
    for room in _ROOMS:
        app.include_router(room.router, include_in_schema=False)
    for calls in (api_datasets, api_jobs, api_sweeps, api_queues, api_workers):
        app.include_router(calls.router)
    app.mount("/static", Static(resource_dir("static")), name="static")
    errors.install(app)
    app.add_middleware(Compress)
    app.add_middleware(Speaking)
    web = ctx.settings.web
    names = [*web.allowed_hosts, urlsplit(web.public_url).hostname or ""]
    app.add_middleware(Guard, allowed_hosts=names, addresses=not is_loopback(web.host))
    return app
