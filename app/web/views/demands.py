"""Why no worker can take a job, in words: which demand nobody meets, and what would help."""

from __future__ import annotations

from sqlmodel import Session

from app.domain.jobs.demands import Demand, Unmet, offer_of, unmet
from app.domain.jobs.models import Job
from app.domain.jobs.states import Queue
from app.domain.workers import service as workers
from app.web.render import translate as _
from app.web.render import translate_many as ngettext


def unmet_words(session: Session, queue: str, demand: Demand | Job) -> list[str]:
    """A sentence for each demand that no living worker of `queue` meets."""
    found = unmet(session, queue, demand)
    return [_words(session, queue, demand, name) for name in found]


def _words(session: Session, queue: str, demand: Demand | Job, name: Unmet) -> str:
    living = [worker for worker in workers.living(session) if worker.queue == queue]
    offers = [offer_of(worker, living) for worker in living]
    if name == "gpus":
        most = max(offer.gpus for offer in offers)
        asks = ngettext("It asks for %(n)s GPU of one worker", "It asks for %(n)s GPUs of one worker", demand.gpus)
        there = _("the most that one has is %(n)s", n=most) if most else _("no worker has one")
        more = " " + _("TUNEDECK_WORKER__GPUS_PER_SLOT gives a worker more.") if most else ""
        return f"{asks}; {there}.{more}"
    if name == "min_gpu_memory_gb":
        most_gb = max(offer.memory_gb for offer in offers)
        asks = _("It asks for a GPU of at least %(n)s GB", n=f"{demand.min_gpu_memory_gb:g}")
        there = _("the largest has %(n)s GB", n=f"{most_gb:.1f}") if most_gb else _("no worker has a GPU")
        return f"{asks}; {there}."
    if name == "worker_label":
        return _("It asks for a worker with the label “%(label)s”; none carries it.", label=demand.worker_label)
    if name == "together":
        return _("Each thing that it asks for is met by some worker, but no worker meets them all.")
    return _("Every worker that could take it is drained. Resume one on the Workers page.")


def train_demand_words(session: Session, demand: Demand) -> list[str]:
    """The same for a training that is not queued yet."""
    return unmet_words(session, Queue.GPU, demand)
