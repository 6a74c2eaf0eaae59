"""The order of the queue: chosen, dragged, by two at once, and followed exactly by the claim; on both databases."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.context import Context
from app.domain.errors import ConflictError, InvalidError
from app.domain.jobs import ordering, service
from app.domain.jobs.models import Job
from app.domain.jobs.states import JobKind


def queued(ctx: Context, *names: str, **how: int) -> dict[str, int]:
    with ctx.db.session(write=True) as session:
        made = {
            name: service.enqueue(session, ctx.bells, kind=JobKind.TRAIN, subject_id=1, name=name, config={}, **how)
            for name in names
        }
        return {name: job.id or 0 for name, job in made.items()}


def line(ctx: Context) -> str:
    with ctx.db.session() as session:
        found = ordering.waiting(session, "gpu")
        assert [ordering.queue_position(session, job) for job in found] == list(range(1, len(found) + 1))
        return "".join(job.name for job in found)


def claimed(ctx: Context) -> str:
    names = ""
    while True:
        with ctx.db.session(write=True) as session:
            job = service.claim(session, "gpu", "w")
        if job is None:
            return names
        names += job.name


def test_a_job_is_put_before_another_and_the_claim_follows(any_ctx: Context) -> None:
    ctx, ids = any_ctx, queued(any_ctx, *"abcde")
    with ctx.db.session(write=True) as session:
        ordering.put_before(session, ctx.bells, ids["e"], ids["b"])
        ordering.put_before(session, ctx.bells, ids["a"], None)
    assert line(ctx) == "ebcda"
    queued(ctx, "f")
    with ctx.db.session(write=True) as session:
        ordering.shift(session, ctx.bells, ids["d"], -1)
        ordering.shift(session, ctx.bells, ids["e"], 1)
        ordering.shift(session, ctx.bells, ids["b"], -1)  # it is the first already
    assert line(ctx) == "bedcaf"
    with ctx.db.session(write=True) as session:
        ordering.start_next(session, ctx.bells, ids["c"])
        ordering.start_next(session, ctx.bells, ids["c"])
    assert claimed(ctx) == "cbedaf"


def test_priorities_go_first_and_a_moved_job_takes_its_neighbours(any_ctx: Context) -> None:
    ctx, ids = any_ctx, queued(any_ctx, *"abcd")
    with ctx.db.session(write=True) as session:
        ordering.set_priority(session, ctx.bells, ids["c"], "urgent")
        ordering.set_priority(session, ctx.bells, ids["a"], "whenever")
    assert line(ctx) == "cbda"
    with ctx.db.session(write=True) as session:
        ordering.put_before(session, ctx.bells, ids["b"], ids["c"])  # now urgent as well
        ordering.put_before(session, ctx.bells, ids["d"], None)  # now whenever as well
    assert line(ctx) == "bcad"
    with ctx.db.session() as session:
        words = {name: ordering.priority_word(session.get_one(Job, number).priority) for name, number in ids.items()}
    assert words == {"b": "urgent", "c": "urgent", "a": "whenever", "d": "whenever"}
    assert claimed(ctx) == "bcad"


def test_only_what_waits_is_moved(any_ctx: Context) -> None:
    ctx, ids = any_ctx, queued(any_ctx, "a", "b")
    with ctx.db.session(write=True) as session:
        assert service.claim(session, "gpu", "w")
    with ctx.db.session(write=True) as session:
        with pytest.raises(ConflictError):
            ordering.set_priority(session, ctx.bells, ids["a"], "urgent")
        with pytest.raises(ConflictError):
            ordering.shift(session, ctx.bells, ids["a"], 1)
        with pytest.raises(ConflictError):
            ordering.put_before(session, ctx.bells, ids["a"], None)
        with pytest.raises(ConflictError):
            ordering.put_before(session, ctx.bells, ids["b"], ids["a"])
        with pytest.raises(InvalidError):
            ordering.set_priority(session, ctx.bells, ids["b"], "soon")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(moves=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=25))
def test_the_line_is_what_a_list_would_be(ctx: Context, moves: list[tuple[int, int]]) -> None:
    with ctx.db.session(write=True) as session:
        session.execute(sa.delete(Job))
    ids = queued(ctx, *"abcdef")
    with ctx.db.session(write=True) as session:
        session.execute(sa.update(Job).values(position=7))  # no room between any two
    wanted = sorted(ids, key=lambda name: ids[name])
    for source, target in moves:
        name, before = wanted[source], (wanted[target] if target < 6 else None)
        if name == before:
            continue
        with ctx.db.session(write=True) as session:
            ordering.put_before(session, ctx.bells, ids[name], ids[before] if before else None)
        wanted.remove(name)
        wanted.insert(wanted.index(before) if before else len(wanted), name)
    assert line(ctx) == "".join(wanted)


def test_two_who_reorder_while_workers_claim_lose_no_job(any_ctx: Context) -> None:
    ctx, ids = any_ctx, list(queued(any_ctx, *(f"{n}," for n in range(24))).values())

    def reorder(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(30):
            try:
                with ctx.db.session(write=True) as session:
                    ordering.put_before(session, ctx.bells, chance.choice(ids), chance.choice([*ids, None]))
            except ConflictError:
                continue

    def work(_: int) -> list[str]:
        return [name for name in claimed(ctx).split(",") if name]

    with ThreadPoolExecutor(4) as pool:
        people = [pool.submit(reorder, seed) for seed in (1, 2)]
        done = [name for found in pool.map(work, range(2)) for name in found]
        for person in people:
            person.result()
    done += work(0)
    assert sorted(done, key=int) == [str(n) for n in range(24)]
