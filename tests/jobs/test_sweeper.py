from __future__ import annotations

import time

from app.core.context import Context
from app.domain.datasets import service as datasets
from app.domain.jobs import fence, service
from app.domain.jobs.models import Job
from app.domain.jobs.states import JobKind
from app.domain.jobs.sweeper import Sweeper


def running_job(ctx: Context) -> fence.Ownership:
    with ctx.db.session(write=True) as session:
        service.enqueue(session, ctx.bells, kind=JobKind.TRAIN, subject_id=1, name="a job", config={})
    with ctx.db.session(write=True) as session:
        job = service.claim(session, "gpu", "w1")
        assert job is not None
        return fence.Ownership(job.id or 0, job.attempt)


def with_short_lease(ctx: Context) -> Context:
    ctx.settings.worker.lease_seconds = 0.3
    ctx.settings.worker.sweep_seconds = 0.1
    return ctx


def test_a_silent_worker_loses_its_job(any_ctx: Context) -> None:
    ctx = with_short_lease(any_ctx)
    own = running_job(ctx)
    sweeper = Sweeper(ctx)
    for _ in range(200):  # on a busy machine the gaps between looks start the count again
        sweeper.look()
        time.sleep(0.05)
        with ctx.db.session() as session:
            job = session.get_one(Job, own.job_id)
        if job.state != "running":
            break
    assert (job.state, job.losses) == ("queued", 1)
    assert job.attempt == own.attempt + 1


def test_a_worker_that_beats_keeps_its_job(ctx: Context) -> None:
    with_short_lease(ctx)
    own = running_job(ctx)
    sweeper = Sweeper(ctx)
    for _ in range(6):
        sweeper.look()
        with ctx.db.session(write=True) as session:
            fence.beat(session, own)
        time.sleep(0.1)
    with ctx.db.session() as session:
        assert session.get_one(Job, own.job_id).state == "running"


def test_a_sweeper_that_slept_counts_nothing(ctx: Context) -> None:
    with_short_lease(ctx)
    own = running_job(ctx)
    sweeper = Sweeper(ctx)
    sweeper.look()
    time.sleep(0.5)
    sweeper.look()
    with ctx.db.session() as session:
        assert session.get_one(Job, own.job_id).state == "running"


def test_files_of_a_deleted_job_go_once_it_has_ended(ctx: Context) -> None:
    own = running_job(ctx)
    kept = ctx.storage.make_parent(f"runs/{own.job_id}/a1/adapter.bin")
    kept.write_bytes(b"x")
    with ctx.db.session(write=True) as session:
        service.delete(session, ctx.bells, own.job_id)
    sweeper = Sweeper(ctx)
    sweeper.look()
    assert kept.exists(), "the worker is still at it"
    with ctx.db.session(write=True) as session:
        fence.finish(session, own, "cancelled")
    sweeper.look()
    assert not kept.exists()
    with ctx.db.session() as session:
        assert session.get(Job, own.job_id) is None


def test_the_file_of_a_deleted_data_set_goes_and_its_name_stays(ctx: Context) -> None:
    file = ctx.storage.make_parent("datasets/a.jsonl")
    file.write_text("{}")
    with ctx.db.session(write=True) as session:
        made = datasets.create_from_upload(
            session, ctx.bells, name="a", filename="a.jsonl", size=2, sha256="0", source_key="datasets/a.jsonl"
        )
        datasets.delete_dataset(session, ctx.bells, made.id or 0)
    for _ in range(2):
        Sweeper(ctx).look()
    assert not file.exists()
    with ctx.db.session() as session:
        assert datasets.names(session, [made.id or 0]) == {made.id: "a"}
