"""Figures for Prometheus. They are read from the database and the broker, so every web process tells the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from statistics import fmean
from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.responses import Response

from app.domain import figures
from app.domain.deliveries.models import Channel, DeliveryState
from app.domain.jobs.states import JobKind, JobState, Queue
from app.domain.workers import service as workers
from app.web.attendance import streams
from app.web.deps import ContextDep

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

router = APIRouter()


@router.get("/metrics")
def metrics(ctx: ContextDep) -> Response:
    """Text in Prometheus' format: sums over everybody's jobs, whoever asks."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

    with ctx.db.session() as session:
        found = figures.read(session)
    held = streams(ctx.settings.redis)

    class Collector:
        def collect(self) -> Iterator[GaugeMetricFamily]:
            yield from (*_of_jobs(found), *_of_workers(found), *_of_web(held))

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _gauge(name: str, told: str, labels: str, values: Iterable[tuple[tuple[str, ...], float]]) -> GaugeMetricFamily:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"tunedeck_{name}", told, labels=labels.split())
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def _of_jobs(found: figures.Figures) -> Iterator[GaugeMetricFamily]:
    # Every pair is told, zeros too: a series that comes and goes breaks alerts.
    pairs = [(kind.value, state.value) for kind in JobKind for state in JobState]
    yield _gauge("jobs", "Jobs that are kept.", "kind state", [(pair, found.jobs.get(pair, 0)) for pair in pairs])
    yield _gauge("events_stored", "Events of the jobs that are kept.", "", [((), found.events)])
    oldest = [((queue.value,), found.oldest_waiting.get(queue, 0.0)) for queue in Queue]
    yield _gauge("queue_oldest_wait_seconds", "How long the first waiting job has waited.", "queue", oldest)
    waits = [((kind, stat), how(found.waits[kind])) for kind in found.waits for stat, how in _STATS]
    yield _gauge("queue_wait_seconds", "From creation to start, of jobs started within the hour.", "kind stat", waits)
    steps = [((stat,), how(found.steps)) for stat, how in _STATS if found.steps]
    yield _gauge("step_seconds", "Time of an optimiser step, over the running trainings.", "stat", steps)
    pairs = [(channel.value, state.value) for channel in Channel for state in DeliveryState]
    sent = [(pair, found.deliveries.get(pair, 0)) for pair in pairs]
    yield _gauge("deliveries", "Messages of the last 30 days.", "channel state", sent)


_STATS = (("mean", fmean), ("max", max))


def _of_workers(found: figures.Figures) -> Iterator[GaugeMetricFamily]:
    alive = [((worker.name, worker.queue), float(workers.is_alive(worker))) for worker in found.workers]
    yield _gauge("worker_up", "Whether the worker was heard of lately.", "worker queue", alive)
    # Both workers of a host tell of its cards.
    cards = {
        (worker.name, str(gpu.get("index", 0))): gpu for worker in found.workers for gpu in figures.gpus_of(worker)
    }
    for name, key, told in (
        ("gpu_memory_total_bytes", "total", "Memory of the card."),
        ("gpu_memory_used_bytes", "used", "Memory in use, by whomever."),
        ("gpu_load_percent", "load", "Load as the driver tells it."),
    ):
        yield _gauge(
            name, told, "worker gpu", [(who, gpu[key]) for who, gpu in cards.items() if gpu.get(key) is not None]
        )


def _of_web(held: list[int] | None) -> Iterator[GaugeMetricFamily]:
    yield _gauge("build_info", "Version of the program.", "version", [((version("tunedeck"),), 1)])
    yield _gauge("broker_up", "Whether the broker answers.", "", [((), float(held is not None))])
    if held is not None:
        yield _gauge("open_streams", "Live streams of all web processes.", "", [((), sum(held))])
        yield _gauge("web_processes", "Web processes heard of lately.", "", [((), len(held))])
