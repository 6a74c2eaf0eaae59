"""The shortest trainer that speaks the real protocol: what is measured with it is the queue."""

from __future__ import annotations

import sys

from worker.child import Child, run
from worker.trainer.protocol import Metric
from worker.trainer.specs import TrainSpec, read_spec


def _train(child: Child) -> None:
    steps = read_spec(child.job_dir, TrainSpec).config.max_steps
    for step in range(1, steps + 1):
        child.stop_point()
        child.events.emit(Metric(step=step, values={"loss": 1.0 / step}, total_steps=steps))


if __name__ == "__main__":
    sys.exit(run(_train))
