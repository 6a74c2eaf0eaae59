"""What is wrong with a job now that it rests; nothing, if all is well."""

from __future__ import annotations

import time

from sqlmodel import col, select

from app.domain.jobs.models import Job, JobAttempt, JobEvent
from app.domain.jobs.states import JobState
from app.domain.metrics.service import series
from tests.chaos.heard import lives
from tests.chaos.scripted import STEPS, value_at
from tests.chaos.world import SCRIPTED, World


def curve(world: World, job_id: int) -> dict[int, float]:
    """step -> loss, as the page shows it."""
    with world.ctx.db.session() as session:
        return dict(zip(*series(session, job_id, ["loss"]).get("loss", ([], [])), strict=True))


def findings(world: World, job_id: int, straight: dict[int, float] | None) -> list[str]:
    """`straight`: the curve that the real trainer draws when nothing befalls it."""
    with world.ctx.db.session() as session:
        job = session.get_one(Job, job_id)
        events = list(session.exec(select(JobEvent).where(JobEvent.job_id == job_id).order_by(col(JobEvent.seq))))
        attempts = list(
            session.exec(select(JobAttempt).where(JobAttempt.job_id == job_id).order_by(col(JobAttempt.attempt)))
        )
    shown = curve(world, job_id)
    steps, numbers = list(range(1, STEPS + 1)), [event.attempt for event in events]
    told = _told(events, attempts)
    losses = sum(attempt.outcome == "lost" for attempt in attempts)
    counted = sum("losses" in event.payload for event in events if event.kind == "state")
    expected = straight or {step: value_at(step) for step in steps}
    expects_values = straight is not None or world.kind is SCRIPTED
    sound = {
        f"it is {job.state}: {job.error.get('message', '')}": job.state == JobState.SUCCEEDED,
        f"shown steps {list(shown)}": list(shown) == steps,
        f"told steps {told}": told == steps,
        "other values": shown == expected or not expects_values,
        "a gap in the numbers of events": [event.seq for event in events] == list(range(1, job.event_seq + 1)),
        f"an older attempt wrote after a newer one: {numbers}": numbers == sorted(numbers),
        f"{losses} losses, {counted} told": losses == counted,
        "a trainer lives on": _alone(world, job_id),
    }
    return [finding for finding, holds in sound.items() if not holds]


def _told(events: list[JobEvent], attempts: list[JobAttempt]) -> list[int]:
    """The steps of the log in its order, each attempt up to where a later one began: once each, if all is well."""
    ends = {
        attempt.attempt: min((later.from_step for later in attempts[number + 1 :]), default=STEPS)
        for number, attempt in enumerate(attempts)
    }
    metrics = (event for event in events if event.kind == "metric" and "loss" in event.payload.get("values", {}))
    return [event.step or 0 for event in metrics if (event.step or 0) <= ends[event.attempt]]


def _alone(world: World, job_id: int) -> bool:
    """A frozen one that wakes later ends by itself: it gets the lease for that, and more on a slow machine."""
    until = time.monotonic() + 10 * world.kind.lease
    while time.monotonic() < until:
        folders = world.ctx.storage.path(f"runs/{job_id}").glob("a*")
        if not any(lives(world.trainer(job_id, int(folder.name[1:])) or 0, folder) for folder in folders):
            return True
        time.sleep(0.1)
    return False
