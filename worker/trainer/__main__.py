"""`python -m worker.trainer JOB_DIR`: one fine-tune, from `job.json` to `adapter/`. Needs no Redis and no database."""

from __future__ import annotations

import sys

from worker.child import Child, run, working_in
from worker.trainer.environment import set_environment
from worker.trainer.failures import explain
from worker.trainer.specs import TrainSpec, read_spec


def _train(child: Child) -> None:
    spec = read_spec(child.job_dir, TrainSpec)
    set_environment(spec.threads)
    child.events.phase("preparing", detail="Loading the training libraries.")
    from worker.trainer.engines import start_engine

    with working_in(child.job_dir):
        engine = start_engine(spec.config, child)
        # Only now: Unsloth must be imported before the libraries that the recipe imports.
        from worker.trainer.recipe import train

        train(spec, child, engine)


def main() -> int:
    """The exit code: 0 only after a `done` line."""
    if sys.argv[1:2] == ["--wait"]:
        from worker.trainer.standby import wait_for_folder

        wait_for_folder(int(sys.argv[2]))
    return run(_train, explain)


if __name__ == "__main__":
    sys.exit(main())
