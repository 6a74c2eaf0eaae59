"""Jobs under seeded faults: each has one or two, at moments drawn from its own seed."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from sqlalchemy.exc import DBAPIError
from sqlmodel import select

from app.domain.errors import DomainError
from app.domain.jobs import service
from app.domain.jobs.models import Job
from app.domain.jobs.states import FINAL, JobState
from tests.chaos.faults import FAULTS
from tests.chaos.findings import curve, findings
from tests.chaos.world import REAL, SCRIPTED, WORKERS, World, send

#: Of two hundred seeds these go through the real trainer.
_REAL_FROM = 180
_REST_SECONDS = 400


@dataclass
class Trial:
    """One run: what is still to befall its job (seconds, fault), what did, and what was found."""

    seed: int
    job_id: int
    plan: list[tuple[float, str]]
    since: float | None = None
    done: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    @property
    def chance(self) -> random.Random:
        """Of the fault that comes next."""
        return random.Random(f"{self.seed} {len(self.done)}")


@dataclass(frozen=True)
class Batch:
    """Runs at rest; the longest that a trainer outlived its lease, in seconds."""

    trials: list[Trial]
    latest: float

    def faults(self) -> Counter[str]:
        """How often each befell them."""
        return Counter(fault for trial in self.trials for fault in trial.done)

    def findings(self) -> list[str]:
        """Each with its seed; none, if all is well."""
        return [f"seed {trial.seed}: {finding}" for trial in self.trials for finding in trial.findings]


def is_real(seed: int) -> bool:
    """Whether a real, tiny model is trained."""
    return seed % 200 >= _REAL_FROM


def planned(seed: int) -> list[tuple[float, str]]:
    """(seconds after the one before, or after the job began, and what). The first goes round, so that all occur."""
    chance = random.Random(seed)
    names = [name for name in FAULTS if seed % 2 or name != "kill database"]
    first = seed // 2 + seed % 2 * 8  # so that the first twenty seeds know every kind
    chosen = [names[first % len(names)], *chance.choices(names, k=chance.randint(0, 1))]
    seconds = (REAL if is_real(seed) else SCRIPTED).seconds
    return [(chance.uniform(0, 0.9) * seconds / len(chosen), name) for name in chosen]


def run(folder: Path, seeds: list[int], *, slack: float = 1.0) -> Batch:
    """The runs of `seeds`, all odd (Postgres) or all even (SQLite), in one world, at rest and examined."""
    world = World(folder, REAL if is_real(seeds[0]) else SCRIPTED, postgres=bool(seeds[0] % 2))
    try:
        straight = _straight(world) if is_real(seeds[0]) else None
        ids = world.enqueue(len(seeds))
        trials = [Trial(seed, number, planned(seed)) for seed, number in zip(seeds, ids, strict=True)]
        _drive(world, trials)
        _await_web(world, trials)
        for trial in trials:
            trial.findings += findings(world, trial.job_id, straight)
        if world.kind is SCRIPTED:
            _hear_both(world, trials)
        late = [f"a trainer outlived its lease by {late:.1f} s" for late in world.watcher.late.values() if late > slack]
        trials[0].findings += late
        return Batch(trials, world.watcher.latest())
    finally:
        world.close()


def _straight(world: World) -> dict[int, float]:
    """The curve of a job that nothing befell."""
    trial = Trial(-1, world.enqueue(1)[0], [])
    _drive(world, [trial])
    return curve(world, trial.job_id)


def _drive(world: World, trials: list[Trial]) -> None:
    until = time.monotonic() + _REST_SECONDS * (3 if world.kind is REAL else 1)
    while time.monotonic() < until:
        try:
            with world.ctx.db.session() as session:
                jobs = {job.id: job for job in session.exec(select(Job))}
            for trial in trials:
                _look(world, trial, jobs[trial.job_id])
            if all(jobs[trial.job_id].job_state in FINAL and not _again(world, jobs, trial) for trial in trials):
                return
        except (DBAPIError, DomainError):
            pass  # the database is down or held: the next look tries again
        time.sleep(0.02)


def _again(world: World, jobs: dict[int | None, Job], trial: Trial) -> bool:
    """A full disk may end a job; whoever sees that frees some space and tries again."""
    job = jobs[trial.job_id]
    if job.state != JobState.FAILED or job.error.get("class") != "disk_full" or not world.disk.was_full:
        return False
    with world.ctx.db.session(write=True) as session:
        again = service.retry(session, world.ctx.bells, trial.job_id).id or 0
    trial.job_id = again  # once it is committed: the disk may still be full
    return True


def _look(world: World, trial: Trial, job: Job) -> None:
    if job.job_state == JobState.PAUSED:
        with world.ctx.db.session(write=True) as session:
            service.resume(session, world.ctx.bells, trial.job_id)
    if job.job_state != JobState.RUNNING:
        return
    trial.since = trial.since or time.monotonic()
    if trial.plan and time.monotonic() - trial.since >= trial.plan[0][0]:
        fault = trial.plan[0][1]
        if FAULTS[fault](world, job, trial.chance):
            trial.plan.pop(0)
            trial.done.append(fault)
            trial.since = time.monotonic()


def _await_web(world: World, trials: list[Trial]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if httpx.get(f"{world.address}/jobs/{trials[0].job_id}", timeout=10).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    trials[0].findings.append("the web process does not answer")


def _hear_both(world: World, trials: list[Trial]) -> None:
    """After all this each worker still hears the bell: the other stands still meanwhile."""
    for worker, other in zip(WORKERS, reversed(WORKERS), strict=True):
        frozen = [pid] if (pid := world.main_process(other)) else []
        world.freeze(frozen, 3600)
        last = Trial(-1, world.enqueue(1)[0], [])
        _drive(world, [last])
        for pid in frozen:
            send(pid, signal.SIGCONT)
        trials[0].findings += [f"{worker}, last: {finding}" for finding in findings(world, last.job_id, None)]
