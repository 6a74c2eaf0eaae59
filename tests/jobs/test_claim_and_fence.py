from __future__ import annotations

import threading

import pytest
from sqlmodel import Session, select

from app.core.context import Context
from app.domain.errors import ConflictError, NotFoundError
from app.domain.jobs import fence, service
from app.domain.jobs.models import Job, JobAttempt, JobEvent
from app.domain.jobs.states import FINAL, LEASED, MOVES, JobKind, JobState


def new_job(ctx: Context, kind: JobKind = JobKind.TRAIN) -> int:
    with ctx.db.session(write=True) as session:
        return service.enqueue(session, ctx.bells, kind=kind, subject_id=1, name="a job", config={}).id or 0


def take(ctx: Context, queue: str = "gpu") -> fence.Ownership | None:
    with ctx.db.session(write=True) as session:
        job = service.claim(session, queue, "w1")
        return fence.Ownership(job.id or 0, job.attempt) if job else None


def taken(ctx: Context, queue: str = "gpu") -> fence.Ownership:
    own = take(ctx, queue)
    assert own is not None
    return own


def state_of(ctx: Context, job_id: int) -> str:
    with ctx.db.session() as session:
        return session.get_one(Job, job_id).state


def test_every_final_state_is_final() -> None:
    assert all(not MOVES[state] for state in FINAL)
    assert all(MOVES[state] for state in LEASED)


def test_the_first_waiting_job_of_the_queue_is_claimed(any_ctx: Context) -> None:
    new_job(any_ctx, JobKind.INTAKE)
    first, second = new_job(any_ctx), new_job(any_ctx)
    assert taken(any_ctx) == fence.Ownership(first, 1)
    assert taken(any_ctx) == fence.Ownership(second, 1)
    assert take(any_ctx) is None


def test_priority_goes_before_position(any_ctx: Context) -> None:
    new_job(any_ctx)
    urgent = new_job(any_ctx)
    with any_ctx.db.session(write=True) as session:
        session.get_one(Job, urgent).priority = 5
    assert taken(any_ctx).job_id == urgent


def test_many_workers_claim_each_job_once(any_ctx: Context) -> None:
    wanted = {new_job(any_ctx) for _ in range(12)}
    claimed: list[int] = []

    def work() -> None:
        while own := take(any_ctx):
            claimed.append(own.job_id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(wanted)


def test_event_numbers_have_no_gap(any_ctx: Context) -> None:
    own = (new_job(any_ctx), taken(any_ctx))[1]
    with any_ctx.db.session(write=True) as session:
        first = fence.open_gate(session, own, count=3, old_tail=0, new_tail=100)
        for number in range(first, first + 3):
            session.add(JobEvent(job_id=own.job_id, seq=number, attempt=1, kind="log"))
    with any_ctx.db.session(write=True) as session:
        fence.finish(session, own, "succeeded")
    with any_ctx.db.session() as session:
        events = service.events_after(session, own.job_id, 0)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].payload["state"] == "succeeded"


def test_the_same_lines_are_stored_once(any_ctx: Context) -> None:
    own = (new_job(any_ctx), taken(any_ctx))[1]
    with any_ctx.db.session(write=True) as session:
        fence.open_gate(session, own, count=1, old_tail=0, new_tail=100)
    with pytest.raises(fence.FencedError), any_ctx.db.session(write=True) as session:
        fence.open_gate(session, own, count=1, old_tail=0, new_tail=100)
    with any_ctx.db.session() as session:
        assert fence.stored_tail(session, own) == 100


def test_a_lost_job_shuts_out_its_old_worker_and_waits(any_ctx: Context) -> None:
    old = (new_job(any_ctx), taken(any_ctx))[1]
    with any_ctx.db.session(write=True) as session:
        fence.lose(session, old, max_losses=3, error={"message": "silent"}, fence=True)
    for write in (lambda s: fence.beat(s, old), lambda s: fence.finish(s, old, "succeeded")):
        with pytest.raises(fence.FencedError), any_ctx.db.session(write=True) as session:
            write(session)
    assert take(any_ctx) is None, "it waits a few seconds before the next try"
    with any_ctx.db.session(write=True) as session:
        session.get_one(Job, old.job_id).not_before = None
    new = taken(any_ctx)
    assert new.attempt > old.attempt
    with any_ctx.db.session() as session:
        outcomes = {a.attempt: a.outcome for a in session.exec(select(JobAttempt))}
    assert outcomes[old.attempt] == "lost"


def test_too_many_losses_end_the_job(any_ctx: Context) -> None:
    job = new_job(any_ctx)
    for _ in range(3):
        with any_ctx.db.session(write=True) as session:
            session.get_one(Job, job).not_before = None
        own = taken(any_ctx)
        with any_ctx.db.session(write=True) as session:
            fence.lose(session, own, max_losses=2, error={"class": "killed", "message": "gone"})
    with any_ctx.db.session() as session:
        row = session.get_one(Job, job)
    assert (row.state, row.losses, row.error["class"]) == ("failed", 3, "killed")


@pytest.mark.parametrize(
    "asked, outcome, state",
    [
        ("", "succeeded", "succeeded"),
        ("", "drained", "queued"),
        ("pause", "paused", "paused"),
        ("pause", "succeeded", "succeeded"),
        ("pause", "drained", "paused"),
        ("cancel", "cancelled", "cancelled"),
        ("cancel", "succeeded", "cancelled"),
    ],
)
def test_how_a_child_ended_and_what_was_asked_give_the_state(
    ctx: Context, asked: str, outcome: str, state: str
) -> None:
    own = (new_job(ctx), taken(ctx))[1]
    with ctx.db.session(write=True) as session:
        if asked:
            {"pause": service.pause, "cancel": service.cancel}[asked](session, ctx.bells, own.job_id)
    with ctx.db.session(write=True) as session:
        assert fence.finish(session, own, outcome) == state
    assert state_of(ctx, own.job_id) == state


def test_cancelling_a_lost_job_cancels_it(any_ctx: Context) -> None:
    own = (new_job(any_ctx), taken(any_ctx))[1]
    with any_ctx.db.session(write=True) as session:
        service.cancel(session, any_ctx.bells, own.job_id)
    with any_ctx.db.session(write=True) as session:
        assert fence.lose(session, own, max_losses=3, error={}, fence=True) == JobState.CANCELLED


def test_a_waiting_job_is_cancelled_at_once_and_only_once(ctx: Context) -> None:
    job = new_job(ctx)
    with ctx.db.session(write=True) as session:
        service.cancel(session, ctx.bells, job)
    assert state_of(ctx, job) == "cancelled"
    with pytest.raises(ConflictError), ctx.db.session(write=True) as session:
        service.cancel(session, ctx.bells, job)


def test_retry_makes_a_new_job_with_the_old_as_parent(ctx: Context) -> None:
    own = (new_job(ctx), taken(ctx))[1]
    with pytest.raises(ConflictError), ctx.db.session(write=True) as session:
        service.retry(session, ctx.bells, own.job_id)
    with ctx.db.session(write=True) as session:
        fence.fail(session, own, {"class": "bug", "message": "oh"})
    with ctx.db.session(write=True) as session:
        again = service.retry(session, ctx.bells, own.job_id)
        assert (again.parent_id, again.state, again.attempt) == (own.job_id, "queued", 0)
    assert state_of(ctx, own.job_id) == "failed"


def test_deleting_a_running_job_hides_it_and_cancels_it(ctx: Context) -> None:
    own = (new_job(ctx), taken(ctx))[1]
    with ctx.db.session(write=True) as session:
        service.delete(session, ctx.bells, own.job_id)
    with pytest.raises(NotFoundError), ctx.db.session() as session:
        service.get_job(session, own.job_id)
    assert state_of(ctx, own.job_id) == "cancelling"


def test_a_bell_rings_only_after_the_commit(ctx: Context) -> None:
    rung: list[str] = []

    class Listener:
        def ring(self, queue: str) -> None:
            rung.append(queue)

    bells = type(ctx.bells)(Listener(), ctx.bells.live)

    def enqueue(session: Session) -> None:
        service.enqueue(session, bells, kind=JobKind.AUDIT, subject_id=1, name="x", config={})

    def fail_after_it() -> None:
        with ctx.db.session(write=True) as session:
            enqueue(session)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_it()
    assert rung == []
    with ctx.db.session(write=True) as session:
        enqueue(session)
        assert rung == []
    assert rung == ["light"]
