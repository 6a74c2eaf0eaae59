"""Starting a grid of trainings as one, finding it again, cancelling what waits of it. Callers commit."""

from __future__ import annotations

from sqlmodel import Session, col, select

from app.core.live import Bells
from app.core.settings import Settings
from app.domain.errors import InvalidError, NotFoundError
from app.domain.jobs import service as jobs
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.launch import check_training, launch_training
from app.domain.jobs.models import Job
from app.domain.jobs.owners import check_count
from app.domain.jobs.states import JobState
from app.domain.sweeps.grid import Grid, combinations
from app.domain.sweeps.models import Sweep
from app.domain.users.scoping import actor_of


def launch(
    session: Session,
    bells: Bells,
    settings: Settings,
    *,
    dataset_id: int,
    name: str,
    config: TrainConfig,
    grid: Grid,
    priority: str = "normal",
) -> Sweep:
    """Queue a training for each combination, or none.

    Raises `InvalidError` whose `errors` name each field that is wrong, and `TooManyError`.
    """
    if not name.strip():
        raise InvalidError("The sweep can't be launched yet.", errors={"name": "Give the tuned model a name."})
    made = combinations(config, grid, name)
    for called, each in made:  # all of them before the first is made: it is refused as a whole
        check_training(session, settings, dataset_id=dataset_id, name=called, config=each, priority=priority)
    check_count(session, more=len(made))
    actor = actor_of(session)
    sweep = Sweep(name=name.strip()[:200], fields=list(grid), owner_id=actor.user_id if actor else None)
    session.add(sweep)
    session.flush()
    for called, each in made:
        job = launch_training(
            session, bells, settings, dataset_id=dataset_id, name=called, config=each, priority=priority
        )
        job.sweep_id = sweep.id
    session.flush()
    return sweep


def get_sweep(session: Session, sweep_id: int) -> tuple[Sweep, list[Job]]:
    """The sweep, and those of its trainings that whoever asks may see. Raises `NotFoundError` where these are none."""
    sweep = session.get(Sweep, sweep_id)
    query = select(Job).where(col(Job.sweep_id) == sweep_id, col(Job.deleted_at).is_(None)).order_by(col(Job.id))
    runs = list(session.exec(query)) if sweep else []
    if sweep is None or not runs:
        raise NotFoundError(f"There is no sweep {sweep_id}. Its trainings may have been deleted.")
    return sweep, runs


def cancel_waiting(session: Session, bells: Bells, sweep_id: int) -> int:
    """Cancel those of its trainings that have not begun; those that run or are paused stay. Returns how many."""
    _sweep, runs = get_sweep(session, sweep_id)
    waits = [JobState.QUEUED]
    done = [job.id or 0 for job in runs if jobs.move(session, job.id or 0, waits, JobState.CANCELLED)]
    for number in done:
        bells.changed(session, number)
    return len(done)
