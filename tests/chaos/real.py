"""The real trainer, `python -m worker.trainer JOB_DIR`, with the times of its renewals kept for the watcher."""

from __future__ import annotations

from tests.chaos.heard import stamp_stdin

stamp_stdin()

import runpy  # noqa: E402 - the stamps come before anything reads

if __name__ == "__main__":
    runpy.run_module("worker.trainer", run_name="__main__")
