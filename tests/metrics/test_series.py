from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.core.context import Context
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Checkpoint, JobAttempt, JobEvent, Metric
from app.domain.jobs.states import JobKind
from app.domain.metrics.axis import axis
from app.domain.metrics.service import exact, series, sparklines, thin
from app.domain.upsert import upsert


def attempt(ctx: Context, job_id: int, number: int, from_step: int, losses: dict[int, float]) -> None:
    with ctx.db.session(write=True) as session:
        session.add(JobAttempt(job_id=job_id, attempt=number, from_step=from_step))
        key = {"job_id": job_id, "attempt": number, "name": "loss"}
        upsert(session, Metric, [key | {"step": step, "value": value} for step, value in losses.items()])


def test_an_attempt_is_shown_up_to_where_the_next_one_started(any_ctx: Context) -> None:
    with any_ctx.db.session(write=True) as session:
        job = jobs.enqueue(session, any_ctx.bells, kind=JobKind.TRAIN, subject_id=1, name="x", config={}).id or 0
    attempt(any_ctx, job, 1, 0, {1: 5.0, 2: 4.0, 3: 3.9})
    attempt(any_ctx, job, 2, 2, {3: 3.0, 4: 2.9, 5: 2.8})
    attempt(any_ctx, job, 4, 4, {5: 2.5})
    with any_ctx.db.session() as session:
        assert series(session, job)["loss"] == ([1, 2, 3, 4, 5], [5.0, 4.0, 3.0, 2.9, 2.5])
        assert sparklines(session, [job])[job] == [5.0, 4.0, 3.0, 2.9, 2.5]


@given(st.lists(st.floats(-1e6, 1e6), max_size=600), st.integers(4, 50))
def test_thinning_keeps_the_ends_and_every_extreme(values: list[float], most: int) -> None:
    steps, kept = thin(list(range(len(values))), values, most)
    assert steps == sorted(set(steps))
    assert all(values[step] == value for step, value in zip(steps, kept, strict=True))
    assert len(kept) <= max(most + 2, 4)
    if values:
        assert (steps[0], steps[-1]) == (0, len(values) - 1)
        assert (min(kept), max(kept)) == (min(values), max(values))


def test_a_value_written_twice_is_kept_once(any_ctx: Context) -> None:
    with any_ctx.db.session(write=True) as session:
        job = jobs.enqueue(session, any_ctx.bells, kind=JobKind.TRAIN, subject_id=1, name="x", config={}).id or 0
    attempt(any_ctx, job, 1, 0, {1: 5.0})
    with any_ctx.db.session(write=True) as session:
        upsert(session, Metric, [{"job_id": job, "attempt": 1, "name": "loss", "step": 1, "value": 4.0}])
    with any_ctx.db.session() as session:
        assert series(session, job)["loss"] == ([1], [4.0])


def test_the_axis_tells_when_and_what_is_marked(any_ctx: Context) -> None:
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    with any_ctx.db.session(write=True) as session:
        job = jobs.enqueue(session, any_ctx.bells, kind=JobKind.TRAIN, subject_id=1, name="x", config={}).id or 0
        # Step 3 was done twice: the second time is the one that counts.
        for seq, (attempt_number, step, second) in enumerate([(1, 1, 0), (1, 2, 2), (1, 3, 4), (2, 3, 60), (2, 4, 62)]):
            at = begun + timedelta(seconds=second)
            event = JobEvent(job_id=job, seq=seq + 100, attempt=attempt_number, kind="metric")
            event.step, event.at, event.payload = step, at, {"epoch": step / 2}
            session.add(event)
        session.add(Checkpoint(job_id=job, step=2, attempt=1, storage_key="x", size=1, reason="schedule"))
    attempt(any_ctx, job, 1, 0, {1: 5.0, 2: 4.0, 3: 3.9})
    attempt(any_ctx, job, 2, 2, {3: 3.0, 4: 2.9})
    with any_ctx.db.session() as session:
        found = axis(session, job)
        assert (found.checkpoints, found.restarts, found.epoch_per_step) == ([2], [2], 0.5)
        assert (found.steps, found.seconds) == ([1, 2, 3, 4], [0.0, 2.0, 60.0, 62.0])
        assert datetime.fromisoformat(found.begun) == begun
        assert series(session, job, span=(2, 3))["loss"] == ([2, 3], [4.0, 3.0])
        assert [list(each) for each in exact(session, job)["loss"]] == [[1, 2, 3, 4], [5.0, 4.0, 3.0, 2.9]]
        assert axis(session, 999).steps == []


def test_what_a_resumed_attempt_says_of_earlier_steps_is_not_shown(any_ctx: Context) -> None:
    with any_ctx.db.session(write=True) as session:
        job = jobs.enqueue(session, any_ctx.bells, kind=JobKind.TRAIN, subject_id=1, name="x", config={}).id or 0
    attempt(any_ctx, job, 1, 0, {1: 5.0, 2: 4.0, 3: 3.9})
    attempt(any_ctx, job, 2, 2, {0: 9.0, 2: 8.0, 3: 3.0})
    with any_ctx.db.session() as session:
        assert series(session, job)["loss"] == ([1, 2, 3], [5.0, 4.0, 3.0])
