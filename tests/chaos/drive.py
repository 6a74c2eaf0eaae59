"""Jobs under seeded faults: each has one or two, at moments drawn from its own seed."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.exc import OperationalError
from sqlmodel import col, select

from app.domain.errors import ConflictError
from app.domain.jobs import service
from app.domain.jobs.models import Job, JobAttempt, JobEvent
from app.domain.jobs.states import FINAL, JobState
from app.domain.metrics.service import series
from tests.chaos.scripted import STEPS, value_at
from tests.chaos.world import LEASE, World

FAULTS = ("kill trainer", "kill worker", "freeze worker", "freeze trainer", "kill sweeper", "pause", "hold database")
_REST_SECONDS = 45


@dataclass
class Trial:
    """One job: what is still to befall it (on a slow machine the job may end first), and what did."""

    seed: int
    job_id: int
    plan: list[tuple[int, str]]
    done: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def planned(seed: int) -> list[tuple[int, str]]:
    """(step, fault), in the order of steps. The first fault goes round, so that twenty seeds know every kind."""
    chance = random.Random(seed)
    faults = [FAULTS[seed // 2 % len(FAULTS)], *chance.choices(FAULTS, k=chance.randint(0, 1))]
    return list(zip(sorted(chance.sample(range(STEPS // 2), len(faults))), faults, strict=True))


def run(folder: Path, postgres: str | None, seeds: list[int], workers: int = 3) -> list[Trial]:
    """The trials of `seeds` in one world, at rest and examined."""
    world = World(folder, postgres, workers)
    try:
        ids = world.enqueue(len(seeds))
        trials = [Trial(seed, number, planned(seed)) for seed, number in zip(seeds, ids, strict=True)]
        _drive(world, trials)
        for trial in trials:
            trial.findings = findings(world, trial.job_id)
        return trials
    finally:
        world.close()


def _drive(world: World, trials: list[Trial]) -> None:
    until = time.monotonic() + _REST_SECONDS
    while time.monotonic() < until:
        world.tend()
        with world.ctx.db.session() as session:
            jobs = {job.id: job for job in session.exec(select(Job))}
        for trial in trials:
            _look(world, trial, jobs[trial.job_id])
        if all(job.job_state in FINAL for job in jobs.values()):
            return
        time.sleep(0.02)


def _look(world: World, trial: Trial, job: Job) -> None:
    if job.job_state == JobState.PAUSED:
        # A frozen database or worker may hold the row: the next look tries again.
        with contextlib.suppress(OperationalError), world.ctx.db.session(write=True) as session:
            service.resume(session, world.ctx.bells, trial.job_id)
    elif job.job_state == JobState.RUNNING and trial.plan and job.step >= trial.plan[0][0]:
        fault = trial.plan[0][1]
        if _befall(world, job, fault, random.Random(trial.seed + len(trial.done))):
            trial.plan.pop(0)
            trial.done.append(fault)


def _befall(world: World, job: Job, fault: str, chance: random.Random) -> bool:
    """Whether it could be done: a trainer that is not there yet can't be hurt."""
    time.sleep(chance.uniform(0, 0.03))
    trainers = world.trainers(job.id or 0)
    match fault:
        case "kill worker":
            world.kill(job.worker)
        case "freeze worker":
            world.freeze_worker(job.worker, LEASE + chance.uniform(0.8, 1.5))
        case "kill sweeper":
            world.kill("sweeper")
        case "pause":
            return _pause(world, job.id or 0)
        case "hold database":
            world.hold_database(chance.uniform(0.3, 0.8))
        case "kill trainer":
            return world.kill_trainers(trainers)
        case _:
            for pid in trainers:
                world.freeze(pid, chance.uniform(0.3, LEASE))
            return bool(trainers)
    return True


def _pause(world: World, job_id: int) -> bool:
    try:
        with world.ctx.db.session(write=True) as session:
            service.pause(session, world.ctx.bells, job_id)
    except (ConflictError, OperationalError):
        return False
    return True


def findings(world: World, job_id: int) -> list[str]:
    """What is wrong with the job now that it rests; nothing, if all is well."""
    with world.ctx.db.session() as session:
        job = session.get_one(Job, job_id)
        shown = series(session, job_id, ["loss"]).get("loss", ([], []))
        in_order = select(JobEvent).where(JobEvent.job_id == job_id).order_by(col(JobEvent.seq))
        events = list(session.exec(in_order))
        lost = select(JobAttempt).where(JobAttempt.job_id == job_id, JobAttempt.outcome == "lost")
        losses = len(list(session.exec(lost)))
    steps = list(range(1, STEPS + 1))
    attempts = [event.attempt for event in events]
    counted = sum("losses" in event.payload for event in events if event.kind == "state")
    sound = {
        f"it is {job.state}": job.state == JobState.SUCCEEDED,
        f"steps {shown[0]}": shown[0] == steps,
        "wrong values": shown[1] == [value_at(step) for step in shown[0]],
        "a gap in the numbers of events": [event.seq for event in events] == list(range(1, job.event_seq + 1)),
        "an older attempt wrote after a newer one": attempts == sorted(attempts),
        f"{losses} losses, {counted} told": losses == counted,
        "a trainer lives on": _alone(world, job_id),
    }
    return [finding for finding, holds in sound.items() if not holds]


def _alone(world: World, job_id: int) -> bool:
    """A frozen one that wakes later ends by itself: give it the lease."""
    until = time.monotonic() + 3 * LEASE
    while world.trainers(job_id) and time.monotonic() < until:
        world.tend()
        time.sleep(0.1)
    return not world.trainers(job_id)


def faults_of(trials: list[Trial]) -> Counter[str]:
    """How often each fault befell them."""
    return Counter(fault for trial in trials for fault in trial.done)
