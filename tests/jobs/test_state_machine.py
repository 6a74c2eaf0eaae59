"""Whatever the web, the workers and the sweepers do to jobs, in any order: against the real database."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlmodel import Session, col, select

from app.core.context import Context
from app.domain.errors import DomainError
from app.domain.jobs import fence, holding, ordering, service
from app.domain.jobs.fence import FencedError, Ownership
from app.domain.jobs.models import Job, JobEvent, QueueHold
from app.domain.jobs.states import FINAL, LEASED, MOVES, JobKind, JobState, Queue

#: What ends a job comes less often, or nothing lives long enough for an old claim to come back to.
_CHANGES = (*[service.pause, service.resume] * 2, ordering.start_next, service.retry, service.cancel, service.delete)
_MOST_JOBS = 3


def _store(session: Session, own: Ownership, tail: int) -> bool:
    """Two lines of the child."""
    first = fence.open_gate(session, own, count=2, old_tail=tail, new_tail=tail + 2)
    session.add_all(JobEvent(job_id=own.job_id, seq=n, attempt=own.attempt, kind="log") for n in (first, first + 1))
    return True


def _lose(most: int, *, swept: bool) -> Callable[[Session, Ownership, int], JobState]:
    """Its child died, or a sweeper found it silent."""
    return lambda session, own, _: fence.lose(session, own, max_losses=most, error={}, fence=swept)


def _finish(outcome: str) -> Callable[[Session, Ownership, int], JobState]:
    return lambda session, own, _: fence.finish(session, own, outcome)


#: All that a claim is good for.
_WAYS: dict[str, Callable[[Session, Ownership, int], Any]] = {
    "beat": lambda session, own, _: fence.beat(session, own),
    "store": _store,
    "fail": lambda session, own, _: fence.fail(session, own, {"class": "bug", "message": "oh"}),
    "die": _lose(5, swept=False),
    "die too often": _lose(0, swept=False),
    "be swept": _lose(5, swept=True),
    **{outcome: _finish(outcome) for outcome in ("succeeded", "paused", "drained", "cancelled")},
}


class Jobs(RuleBasedStateMachine):
    """Every claim ever made stays in hand: an old one may come back at any time, and must be shut out."""

    ctx: Context
    jobs: Bundle[int] = Bundle("jobs")
    claims: Bundle[Ownership] = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        with self.ctx.db.session(write=True) as session:
            for table in (QueueHold, Job):
                session.execute(sa.delete(table))
        self.before: dict[int, tuple[str, int]] = {}
        self.tails: dict[Ownership, int] = {}

    def _do(self, act: Callable[[Session], Any]) -> Any:
        """One transaction; what is refused changes nothing."""
        try:
            with self.ctx.db.session(write=True) as session:
                return act(session)
        except (DomainError, FencedError):
            return None

    # -- the web

    @precondition(lambda self: len(self.before) < _MOST_JOBS)
    @rule(target=jobs, kind=st.sampled_from([JobKind.TRAIN, JobKind.TRAIN, JobKind.AUDIT]))
    def launch(self, kind: JobKind) -> int:
        with self.ctx.db.session(write=True) as session:
            return service.enqueue(session, self.ctx.bells, kind=kind, subject_id=1, name="x", config={}).id or 0

    @rule(target=jobs, job=jobs, change=st.sampled_from(_CHANGES))
    def click(self, job: int, change: Callable[..., Any]) -> Any:
        made = self._do(lambda session: change(session, self.ctx.bells, job))
        return made.id if isinstance(made, Job) else multiple()

    @rule(queue=st.sampled_from(Queue), held=st.sampled_from([True, False, False]))
    def hold(self, queue: str, held: bool) -> None:
        self._do(lambda session: (holding.hold if held else holding.let_go)(session, self.ctx.bells, queue))

    # -- the workers

    @rule(target=claims, queue=st.sampled_from([Queue.GPU, Queue.GPU, Queue.LIGHT]))
    def claim(self, queue: str) -> Any:
        self._do(lambda session: session.execute(sa.update(Job).values(not_before=None)))  # the pause is over
        first = self._first_waiting(queue)
        job = self._do(lambda session: service.claim(session, queue, "w"))
        assert (job.id if job else None) == first
        if job is None:
            return multiple()
        own = Ownership(job.id, job.attempt)
        for old in [old for old in self.tails if old.job_id == own.job_id][-2:]:
            assert not any(self._accepted(old, what) for what in _WAYS), (old, own)
        self.tails[own] = 0
        return own

    def _first_waiting(self, queue: str) -> int | None:
        with self.ctx.db.session() as session:
            if queue in holding.held(session):
                return None
            rows = list(session.exec(select(Job).where(Job.queue == queue, Job.state == JobState.QUEUED)))
        waiting = [job for job in rows if job.deleted_at is None and job.not_before is None]
        first = min(waiting, key=lambda job: (-job.priority, job.position, job.id or 0), default=None)
        return first.id if first else None

    @rule(own=claims, what=st.sampled_from([*_WAYS, "drained", "paused", "store"]))
    def work(self, own: Ownership, what: str) -> None:
        """Exactly the newest attempt of a leased job may write."""
        with self.ctx.db.session() as session:
            job = session.get_one(Job, own.job_id)
        mine = job.attempt == own.attempt and job.job_state in LEASED
        assert self._accepted(own, what) == mine, (own, what, job.state, job.attempt)
        if mine and what == "store":
            self.tails[own] += 2

    def _accepted(self, own: Ownership, what: str) -> bool:
        return self._do(lambda session: _WAYS[what](session, own, self.tails[own])) is not None

    # -- what always holds

    @invariant()
    def states_move_as_allowed(self) -> None:
        with self.ctx.db.session() as session:
            now = {job.id or 0: (job.state, job.attempt) for job in session.exec(select(Job))}
            told = session.execute(
                sa.select(col(JobEvent.job_id), col(JobEvent.payload))
                .where(col(JobEvent.kind) == "state")
                .order_by(col(JobEvent.job_id), col(JobEvent.seq))
            ).all()
        for job, (state, attempt) in now.items():
            path = [JobState(payload["state"]) for number, payload in told if number == job]
            assert path[0] == JobState.QUEUED
            assert path[-1] == state, "the log tells where it stands"
            assert all(new in MOVES[old] for old, new in itertools.pairwise(path)), path
            old_state, old_attempt = self.before.get(job, (state, attempt))
            assert JobState(old_state) not in FINAL or (old_state, old_attempt) == (state, attempt)
            assert attempt >= old_attempt
        self.before = now

    @invariant()
    def events_have_no_gap(self) -> None:
        with self.ctx.db.session() as session:
            last = {job.id: job.event_seq for job in session.exec(select(Job))}
            rows = select(JobEvent.job_id, JobEvent.seq, JobEvent.attempt).order_by(
                col(JobEvent.job_id), col(JobEvent.seq)
            )
            events = list(session.exec(rows))
        for job, seq in last.items():
            mine = [(number, attempt) for owner, number, attempt in events if owner == job]
            assert [number for number, _ in mine] == list(range(1, seq + 1))
            assert [attempt for _, attempt in mine] == sorted(attempt for _, attempt in mine)


@pytest.mark.slow
def test_no_order_of_events_breaks_a_job(any_ctx: Context) -> None:
    class Bell:
        def ring(self, _: object) -> None:
            """Nobody listens here."""

    bells = type(any_ctx.bells)(Bell(), Bell())  # type: ignore[arg-type]
    machine = type("Machine", (Jobs,), {"ctx": type(any_ctx)(any_ctx.settings, any_ctx.db, any_ctx.storage, bells)})
    bounds = hypothesis.settings(
        max_examples=30,
        stateful_step_count=50,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],  # shrinking would take longer than a test may
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    run_state_machine_as_test(machine, settings=bounds)
