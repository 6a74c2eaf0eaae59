"""`python -m worker.trainer JOB_DIR`: one fine-tune, from `job.json` to `adapter/`. Needs no Redis and no database."""

from __future__ import annotations

import sys
from pathlib import Path

from worker.child import Child, run, working_in
from worker.trainer import ranks
from worker.trainer.environment import see_gpus, set_environment
from worker.trainer.failures import explain
from worker.trainer.specs import TrainSpec, read_spec


def _train(child: Child) -> None:
    spec = read_spec(child.job_dir, TrainSpec)
    set_environment(spec.threads)
    see_gpus(spec.config.gpus)
    child.events.phase("preparing", detail="Loading the training libraries.")
    from worker.trainer.engines import start_engine

    with working_in(child.job_dir), ranks.others(child, spec.config.gpus):
        engine = start_engine(spec.config, child)
        # Only now: Unsloth must be imported before the libraries that the recipe imports.
        from worker.trainer.recipe import train

        train(spec, child, engine)


def main() -> int:
    """The exit code: 0 only after a `done` line."""
    if sys.argv[1:2] == ["--wait"]:
        from worker.trainer.standby import wait_for_folder

        wait_for_folder(int(sys.argv[2]), *sys.argv[3:4])
    if sys.argv[1:2] == [ranks.RANK]:
        return _train_along(Path(sys.argv[3]))
    return run(_train, explain)


def _train_along(job_dir: Path) -> int:
    """Another rank of the training in `job_dir`."""
    child = ranks.helper_child(job_dir)
    try:
        _train(child)
    except BaseException as exc:  # noqa: BLE001 - whatever it was, the person is told
        ranks.tell_failure(child, exc, explain)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
