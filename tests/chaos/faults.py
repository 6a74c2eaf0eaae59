"""What may befall a job, each with the parts of the installation that it strikes. Durations are of leases."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

import psutil
from sqlalchemy.exc import DBAPIError

from app.domain.errors import DomainError
from app.domain.jobs import service
from app.domain.jobs.models import Job
from tests.chaos.world import World, send

#: Whether it could be done: a trainer that is not there yet can't be hurt.
Fault = Callable[[World, Job, random.Random], bool]


def _trainer(world: World, job: Job) -> int | None:
    return world.trainer(job.id or 0, job.attempt)


def _runner(world: World, job: Job) -> int | None:
    """The Celery process that works: the trainer's parent."""
    pid = _trainer(world, job)
    try:
        return psutil.Process(pid).ppid() if pid else None
    except psutil.Error:
        return None


def _kill_trainer(world: World, job: Job, chance: random.Random) -> bool:
    if pid := _trainer(world, job):
        send(pid, signal.SIGKILL)
    return bool(pid)


def _freeze_trainer(world: World, job: Job, chance: random.Random) -> bool:
    if pid := _trainer(world, job):
        world.freeze([pid], world.kind.lease * chance.uniform(0.2, 1.5))
    return bool(pid)


def _kill_runner(world: World, job: Job, chance: random.Random) -> bool:
    if (pid := _runner(world, job)) is not None and pid > 1:
        send(pid, signal.SIGKILL)
        return True
    return False


def _freeze_runner(world: World, job: Job, chance: random.Random) -> bool:
    if (pid := _runner(world, job)) is not None and pid > 1:
        world.freeze([pid], world.kind.lease * chance.uniform(1.4, 1.9))
        return True
    return False


def _freeze_both(world: World, job: Job, chance: random.Random) -> bool:
    """The trainer a little earlier: it wakes with renewals unread in its pipe."""
    trainer, runner = _trainer(world, job), _runner(world, job)
    if not trainer or not runner or runner == 1:
        return False
    seconds = world.kind.lease * chance.uniform(1.6, 2.2)
    world.freeze([trainer], seconds)
    time.sleep(world.kind.lease * chance.uniform(0.1, 0.4))
    world.freeze([runner], seconds)
    return True


def _kill_celery(world: World, job: Job, chance: random.Random) -> bool:
    """The main process alone: the one that works is an orphan then."""
    world.signal_process(job.worker, signal.SIGKILL)
    return True


def _drain(world: World, job: Job, chance: random.Random) -> bool:
    world.signal_process(job.worker, signal.SIGTERM)
    return True


def _kill_web(world: World, job: Job, chance: random.Random) -> bool:
    world.signal_process("web", signal.SIGKILL)
    return True


def _kill_redis(world: World, job: Job, chance: random.Random) -> bool:
    world.fell(world.redis, chance.uniform(0.1, 2), politely=chance.random() < 0.3)
    return True


def _freeze_redis(world: World, job: Job, chance: random.Random) -> bool:
    world.freeze(world.redis.pids(), chance.uniform(0.3, 3))
    return True


def _kill_database(world: World, job: Job, chance: random.Random) -> bool:
    """Postgres. SQLite has no process of its own."""
    if world.postgres is None:
        return False
    world.fell(world.postgres, chance.uniform(0.05, 1), politely=chance.random() < 0.5)
    return True


def _freeze_database(world: World, job: Job, chance: random.Random) -> bool:
    """Nobody gets an answer: Postgres stands still, SQLite's write lock is held."""
    seconds = world.kind.lease * chance.uniform(0.2, 1.2)
    if world.postgres is not None:
        world.freeze(world.postgres.pids(), seconds)
    else:
        with world.ctx.db.session(write=True):
            time.sleep(seconds)
    return True


def _fill_disk(world: World, job: Job, chance: random.Random) -> bool:
    if world.disk.real:
        world.soon(chance.uniform(0.2, 1.2), world.disk.free)
        world.disk.fill()
        return True
    if pid := _trainer(world, job):
        world.disk.limit(pid)
    return bool(pid)


def _step_clock(world: World, job: Job, chance: random.Random) -> bool:
    clock = world.clocks[chance.choice([job.worker, job.worker, "web"])]
    clock.step(chance.choice([-86_400, -3_600, -7, 7, 3_600, 86_400]))
    return clock.real


def _pause(world: World, job: Job, chance: random.Random) -> bool:
    try:
        with world.ctx.db.session(write=True) as session:
            service.pause(session, world.ctx.bells, job.id or 0)
    except (DomainError, DBAPIError):
        return False
    return True


FAULTS: dict[str, Fault] = {
    "kill trainer": _kill_trainer,
    "freeze trainer": _freeze_trainer,
    "kill runner": _kill_runner,
    "freeze runner": _freeze_runner,
    "freeze both": _freeze_both,
    "kill Celery": _kill_celery,
    "drain": _drain,
    "kill web": _kill_web,
    "kill Redis": _kill_redis,
    "freeze Redis": _freeze_redis,
    "kill database": _kill_database,
    "freeze database": _freeze_database,
    "fill disk": _fill_disk,
    "step clock": _step_clock,
    "pause": _pause,
}
