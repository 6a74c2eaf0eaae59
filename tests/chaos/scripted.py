"""A trainer of numbered steps that speaks the real protocol; it loads no training library.

`python -m tests.chaos.scripted JOB_DIR` stands where `python -m worker.trainer JOB_DIR` stands: the same frame, lease,
control and sealed checkpoints. A metric's value depends on its step alone, so a lost or doubled step shows.
"""

from __future__ import annotations

import errno
import json
import sys
import time

from tests.chaos.heard import stamp_stdin
from worker.child import Child, JobError, Stopped, run
from worker.trainer import checkpoints
from worker.trainer.protocol import Checkpoint, Metric
from worker.trainer.specs import CHECKPOINTS_DIR, TrainSpec, read_spec

STEPS = 30
EVERY = 5
_STEP_SECONDS = 0.03


def value_at(step: int) -> float:
    """The loss that every attempt reports at `step`."""
    return 1000 / (step + 7)


def _train(child: Child) -> None:
    spec = read_spec(child.job_dir, TrainSpec)
    step = checkpoints.step_of(spec.resume_from) if spec.resume_from else 0
    child.events.phase("training")
    while step < spec.config.max_steps:
        try:
            child.stop_point()
        except Stopped as stop:
            if stop.action != "cancel":
                save(child, step)
            raise
        time.sleep(_STEP_SECONDS)
        step += 1
        child.events.emit(Metric(step=step, values={"loss": value_at(step)}, total_steps=spec.config.max_steps))
        if step % EVERY == 0:
            save(child, step)


def save(child: Child, step: int) -> None:
    """A sealed checkpoint, told."""
    folder = child.job_dir / CHECKPOINTS_DIR
    part, final = folder / f"checkpoint-{step}.part", folder / f"checkpoint-{step}"
    part.mkdir(parents=True, exist_ok=True)
    (part / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    size = checkpoints.seal(part, final)
    child.events.emit(Checkpoint(step=step, path=f"{CHECKPOINTS_DIR}/{final.name}", size=size))


def _explain(exc: BaseException) -> JobError | None:
    full = isinstance(exc, OSError) and exc.errno in {errno.ENOSPC, errno.EFBIG}
    return JobError("disk_full", "The disk is full.") if full else None


if __name__ == "__main__":
    stamp_stdin()
    sys.exit(run(_train, _explain))
