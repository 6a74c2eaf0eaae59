"""`python -m worker.export JOB_DIR`: make an artifact (`kind` export) or send artifacts to the Hub (`kind` push)."""

from __future__ import annotations

import json
import os
import sys

from app.core.process import loading
from worker.child import Child, run, working_in
from worker.export.failures import explain
from worker.trainer.protocol import JOB_FILE
from worker.trainer.specs import ExportSpec, PushSpec, read_spec


def main(child: Child) -> None:
    """Read `kind` first: each has its own imports, and a push needs no torch."""
    kind = json.loads((child.job_dir / JOB_FILE).read_text(encoding="utf-8"))["kind"]
    with working_in(child.job_dir):
        if kind == "push":
            from worker.export.push import push

            push(child, read_spec(child.job_dir, PushSpec))
            return
        spec = read_spec(child.job_dir, ExportSpec)
        _set_up(spec.threads)
        with loading():
            from worker.export.recipe import export

        export(child, spec)


def _set_up(threads: int) -> None:
    """Read by torch and the Hugging Face libraries when they are imported, so before."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, threads)))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


if __name__ == "__main__":
    sys.exit(run(main, explain))
