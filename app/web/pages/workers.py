"""Workers: which machines can take work, and what they do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.domain.jobs import holding
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Job
from app.domain.jobs.states import LEASED, JobKind, Queue
from app.domain.workers import service
from app.domain.workers.models import Worker
from app.web import filters
from app.web.deps import ContextDep, SessionDep
from app.web.render import page, see_other
from app.web.render import translate as _

router = APIRouter(prefix="/workers")


@router.get("")
def list_page(request: Request, session: SessionDep) -> Response:
    """All workers that are known, and the job each has."""
    busy = {
        (job.worker, job.queue): job for job in jobs.list_jobs(session, kinds=tuple(JobKind), states=LEASED, limit=500)
    }
    rows = [_row(worker, busy.get((worker.name, worker.queue))) for worker in service.list_workers(session)]
    stopped = holding.held(session)
    queues = [{"name": queue, "held": queue in stopped} for queue in Queue]
    return page(request, "workers/list.html", workers=rows, queues=queues)


@router.post("/queues/{queue}/hold")
def hold(request: Request, session: SessionDep, ctx: ContextDep, queue: str) -> Response:
    """Start nothing new of this queue."""
    holding.hold(session, ctx.bells, queue)
    return see_other(request, "/workers", _("Held. What runs goes on, nothing new starts."))


@router.post("/queues/{queue}/go")
def let_go(request: Request, session: SessionDep, ctx: ContextDep, queue: str) -> Response:
    """Go on."""
    holding.let_go(session, ctx.bells, queue)
    return see_other(request, "/workers", _("The queue goes on."))


def _row(worker: Worker, job: Job | None) -> dict[str, Any]:
    alive = service.is_alive(worker)
    badge = "offline" if not alive else "busy" if job else "online"
    return {
        "row": worker,
        "badge": badge,
        "job": job,
        "machine": _machine(worker.facts),
        "engines": _engines(worker.facts),
    }


def _machine(facts: dict[str, Any]) -> list[str]:
    """GPUs, cores and memory in words, as far as the worker told."""
    out = []
    for gpu in facts.get("gpus", []):
        name, memory = (gpu.get("name", "GPU"), gpu.get("total", 0)) if isinstance(gpu, dict) else (str(gpu), 0)
        out.append(f"{name}, {filters.filesize(memory)}" if memory else str(name))
    cores, memory = facts.get("cores") or facts.get("cpu_count"), facts.get("memory_total") or facts.get("memory")
    if cores:
        out.append(_("%(n)s cores", n=cores))
    if memory:
        out.append(_("%(n)s memory", n=filters.filesize(memory)))
    if facts.get("standby"):
        out.append(_("a trainer on stand-by holds %(n)s", n=filters.filesize(facts["standby"])))
    return out


def _engines(facts: dict[str, Any]) -> list[str]:
    """Names and versions of the engines that are installed."""
    versions = facts.get("versions", {})
    names = [{"hf": "transformers"}.get(engine, str(engine)) for engine in facts.get("engines", [])]
    return [f"{name} {versions.get(name, '')}".strip() for name in names]
