"""What a job asks of a worker: the claim gives a worker only what it can serve, and pages say what nobody meets."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import Session, select

from app.core.context import Context
from app.core.db import utcnow
from app.domain.jobs import demands, service
from app.domain.jobs.models import Job
from app.domain.jobs.states import JobKind
from app.domain.workers import service as workers
from app.domain.workers.models import Worker
from app.web.views.demands import unmet_words

GB = 1_000_000_000


def worker(session: Session, name: str, *sizes: int, labels: tuple[str, ...] = (), queue: str = "gpu") -> None:
    gpus = [{"index": number, "name": "card", "total": size * GB} for number, size in enumerate(sizes)]
    facts = {"gpus": gpus, "labels": list(labels)}
    workers.hello(session, name=name, queue=queue, host="h", pid=1, facts=facts)


def job(session: Session, ctx: Context, kind: JobKind = JobKind.TRAIN, **config: Any) -> int:
    return service.enqueue(session, ctx.bells, kind=kind, subject_id=1, name="j", config=config).id or 0


def claimed(ctx: Context, name: str, queue: str = "gpu") -> int | None:
    with ctx.db.session(write=True) as session:
        taken = service.claim(session, queue, name)
        return taken.id if taken else None


def test_a_worker_takes_the_first_that_it_can_serve(any_ctx: Context) -> None:
    with any_ctx.db.session(write=True) as session:
        worker(session, "small", 16)
        worker(session, "pair", 24, 80, labels=("lab", "fast"))
        worker(session, "light", queue="light")
        two = job(session, any_ctx, gpus=2)
        large = job(session, any_ctx, min_gpu_memory_gb=40)
        lab = job(session, any_ctx, worker_label="lab")
        nobody = job(session, any_ctx, worker_label="la")
        first, second = job(session, any_ctx), job(session, any_ctx)
        check = job(session, any_ctx, JobKind.AUDIT, gpus=9, worker_label="x")
    assert claimed(any_ctx, "small") == first
    assert [claimed(any_ctx, "pair") for _ in range(5)] == [two, large, lab, second, None]
    assert claimed(any_ctx, "small") is None
    assert claimed(any_ctx, "light", "light") == check
    with any_ctx.db.session(write=True) as session:
        assert [row.id for row in session.exec(select(Job).where(Job.state == "queued"))] == [nobody]


def test_priority_and_place_decide_among_what_it_can_serve(any_ctx: Context) -> None:
    with any_ctx.db.session(write=True) as session:
        worker(session, "w", 16)
        later, sooner = job(session, any_ctx), job(session, any_ctx)
        too_large = job(session, any_ctx, min_gpu_memory_gb=40)
        session.get_one(Job, sooner).priority = 5
        session.get_one(Job, too_large).priority = 9
    assert [claimed(any_ctx, "w") for _ in range(3)] == [sooner, later, None]


def test_the_cpu_trains_where_no_worker_has_a_gpu(any_ctx: Context) -> None:
    with any_ctx.db.session(write=True) as session:
        worker(session, "cpu")
        worker(session, "far", 24, queue="light")
        jobs = [job(session, any_ctx) for _ in range(2)]
        job(session, any_ctx, gpus=2)
        job(session, any_ctx, min_gpu_memory_gb=1)
    assert claimed(any_ctx, "cpu") == jobs[0]
    assert claimed(any_ctx, "not heard of yet") == jobs[1]
    assert claimed(any_ctx, "cpu") is None
    with any_ctx.db.session(write=True) as session:
        waits = job(session, any_ctx)
        worker(session, "card", 24)
    assert claimed(any_ctx, "cpu") is None
    with any_ctx.db.session(write=True) as session:  # it fell silent a while ago
        session.execute(
            sa.update(Worker).where(sa.column("name") == "card").values(last_seen=utcnow().replace(year=2020))
        )
    assert claimed(any_ctx, "cpu") == waits


def test_what_waits_from_before_fits_any_worker(any_ctx: Context) -> None:
    with any_ctx.db.session(write=True) as session:
        worker(session, "cpu")
        worker(session, "card", 24)
        old = job(session, any_ctx)
        session.execute(sa.text("UPDATE job SET gpus = 0"))
    assert claimed(any_ctx, "cpu") == old


def test_the_claim_and_the_pages_agree(any_ctx: Context) -> None:
    """`can_serve` as SQL and `meets` in Python say the same of every job."""
    asked = list(itertools.product((0, 1, 2, 4), (0.0, 24.0, 24.5), ("", "lab", "o'ther")))
    with any_ctx.db.session(write=True) as session:
        made = [job(session, any_ctx, gpus=g, min_gpu_memory_gb=m, worker_label=label) for g, m, label in asked]
        session.flush()
        for offer in (
            demands.Offer(),
            demands.Offer(0, 0.0, ("lab",), spare=False),
            demands.Offer(2, 24.0, ("lab", "o'ther"), spare=False),
            demands.Offer(1, 80.0, (), spare=False),
        ):
            found = set(
                session.execute(sa.select(sa.column("id")).select_from(Job).where(*demands.can_serve(offer))).scalars()
            )
            assert found == {n for n in made if all(demands.meets(offer, session.get_one(Job, n)).values())}


@pytest.mark.parametrize(
    "asked, told, said",
    [
        ({}, [], ""),
        ({"gpus": 2}, ["gpus"], "It asks for 2 GPUs of one worker; the most that one has is 1."),
        ({"min_gpu_memory_gb": 100}, ["min_gpu_memory_gb"], "at least 100 GB; the largest has 80.0 GB."),
        ({"worker_label": "x"}, ["worker_label"], "the label “x”; none carries it."),
        ({"worker_label": "lab", "min_gpu_memory_gb": 40}, ["together"], "no worker meets them all"),
        ({"worker_label": "off"}, ["drained"], "is drained"),
        ({"gpus": 3, "worker_label": "x"}, ["gpus", "worker_label"], "3 GPUs"),
    ],
)
def test_a_job_that_nobody_can_serve_says_why(ctx: Context, asked: dict[str, Any], told: list[str], said: str) -> None:
    with ctx.db.session(write=True) as session:
        assert demands.unmet(session, "gpu", demands.Demand(gpus=9)) == [], "no worker at all is another matter"
        worker(session, "small", 24, labels=("lab",))
        worker(session, "large", 80)
        worker(session, "off", 24, labels=("off",))
        workers.drain(session, ctx.bells, "off", "gpu")
        waiting = session.get_one(Job, job(session, ctx, **asked))
        assert demands.unmet(session, "gpu", waiting) == told
        assert said in " ".join(unmet_words(session, "gpu", waiting))


def test_a_drained_worker_takes_nothing_until_it_is_resumed_or_starts_anew(any_ctx: Context) -> None:
    with any_ctx.db.session(write=True) as session:
        worker(session, "w", 24)
        first, second = job(session, any_ctx), job(session, any_ctx)
        workers.drain(session, any_ctx.bells, "w", "gpu")
    assert claimed(any_ctx, "w") is None
    with any_ctx.db.session(write=True) as session:
        workers.still_here(session, name="w", queue="gpu", facts={"gpus": []})
    assert claimed(any_ctx, "w") is None, "a sign of life changes nothing"
    with any_ctx.db.session(write=True) as session:
        workers.resume(session, any_ctx.bells, "w", "gpu")
    assert claimed(any_ctx, "w") == first
    with any_ctx.db.session(write=True) as session:
        workers.drain(session, any_ctx.bells, "w", "gpu")
        worker(session, "w", 24)  # it says hello
    assert claimed(any_ctx, "w") == second
