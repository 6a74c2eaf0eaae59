"""A worker as its page shows it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from app.domain.jobs.models import Job
from app.domain.users.access import Actor
from app.domain.workers import service
from app.domain.workers.models import Worker
from app.web import filters
from app.web.render import translate as _


def worker_row(worker: Worker, job: Job | None, actor: Actor) -> dict[str, Any]:
    """What the page tells `actor` of a worker, and the job it has."""
    alive, gpus = service.is_alive(worker), worker.facts.get("gpus", [])
    badge = "offline" if not alive else "busy" if job else "online"
    return {
        "row": worker,
        "badge": badge,
        "alive": alive,
        "at": f"/workers/{worker.queue}/{quote(worker.name, safe='')}",
        "gpus": [gpu_words(gpu) for gpu in gpus if isinstance(gpu, dict)],
        "labels": [str(label) for label in worker.facts.get("labels", [])],
        "busy": job is not None,
        "job": job if job and actor.sees(job.owner_id, shared=job.shared) else None,
        "machine": _machine(worker.facts),
        "engines": _engines(worker.facts),
    }


def gpu_words(gpu: dict[str, Any]) -> str:
    """Name, memory and load of a GPU, as far as it told."""
    total, used, load = gpu.get("total", 0), gpu.get("used", 0), gpu.get("load")
    parts = [f"{gpu.get('name', 'GPU')}, {filters.filesize(total)}" if total else str(gpu.get("name", "GPU"))]
    if used:
        parts.append(_("%(n)s in use", n=filters.filesize(used)))
    if load is not None:
        parts.append(_("%(n)s %% busy", n=f"{load:g}"))
    return ", ".join(parts)


def _machine(facts: dict[str, Any]) -> list[str]:
    """Cores and memory in words, as far as the worker told."""
    out = []
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
