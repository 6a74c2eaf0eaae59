"""A scripted trainer that says which GPUs it sees, and trains until the test lets it end; it loads no training library.

It stands where `python -m worker.trainer JOB_DIR` stands. While it runs, `here` lies in its job folder.
"""

from __future__ import annotations

import os
import sys
import time

from tests.chaos.scripted import save
from worker.child import Child, Stopped, run

#: Beside the folders of all jobs: they may end.
GO = "go"


def _train(child: Child) -> None:
    child.events.log(f"sees {os.environ.get('CUDA_VISIBLE_DEVICES')}")
    child.events.phase("training")
    (child.job_dir / "here").touch()
    while not (child.job_dir.parents[1] / GO).exists():
        try:
            child.stop_point()
        except Stopped as stop:
            if stop.action != "cancel":
                save(child, 7)
            raise
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(run(_train))
