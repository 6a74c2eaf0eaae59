"""`python -m worker.trainer --wait THREADS`: load the libraries, then wait for a line that names a job folder.

With Unsloth on a GPU only what it does not patch is loaded before: it must come before transformers, TRL and PEFT, and
its import takes memory on the card, which is the job's to take.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from importlib.util import find_spec
from pathlib import Path

from app.core.process import die_with_parent, loading
from worker.masking import install
from worker.trainer.environment import set_environment
from worker.trainer.protocol import OUTPUT_FILE
from worker.trainer.specs import TrainSpec, read_spec


def wait_for_folder(threads: int) -> None:
    """Returns, as the trainer of the folder that was named, with its libraries loaded. Ends when stdin is closed."""
    install()
    die_with_parent(signal.SIGKILL)
    set_environment(threads)
    try:
        with loading():
            patched = _load()
    except Exception:  # noqa: BLE001 - a fresh process will tell the job's page what is wrong
        traceback.print_exc()
        patched = None
    line = _first_line()
    if not line:
        sys.exit(0)
    folder = Path(json.loads(line)["job_dir"])
    _become(folder)
    # Broken, or Unsloth is asked for when what it patches is loaded: not in this process.
    if patched is None or (patched and read_spec(folder, TrainSpec).config.engine == "unsloth"):
        os.execv(sys.executable, [sys.executable, "-P", "-m", "worker.trainer", str(folder)])  # noqa: S606
    sys.argv[1:] = [str(folder)]


def _load() -> bool:
    """Import what can be; whether transformers is among it."""
    import datasets  # noqa: F401
    import torch

    if torch.cuda.is_available() and find_spec("unsloth") is not None:
        return False
    from worker.trainer import recipe  # noqa: F401
    from worker.trainer.engines import hf

    hf.prepare(Path())
    return True


def _first_line() -> bytes:
    """Read no more than the line: what follows it on stdin belongs to the trainer, perhaps in a fresh process."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return line


def _become(folder: Path) -> None:
    """Work and print in the job folder."""
    os.chdir(folder)
    output = os.open(OUTPUT_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number in (1, 2):
        os.dup2(output, number)
    os.close(output)
