"""`python -m worker.trainer --wait THREADS [ENGINE]`: load the libraries, wait for a line that names a job folder.

With Unsloth on a GPU only what it does not patch is loaded before: it must come before transformers, TRL and PEFT, and
its import takes memory on the card, which is the job's to take. With ENGINE `unsloth` it is loaded all the same.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import traceback
from importlib.util import find_spec
from pathlib import Path

from psutil import pid_exists

from app.core.process import die_with_parent
from worker.child import JobError
from worker.masking import install
from worker.trainer.engines import choose_engine, engine_module
from worker.trainer.environment import see_gpus, set_environment
from worker.trainer.protocol import OUTPUT_FILE
from worker.trainer.specs import TrainSpec, read_spec

#: Neither engine's own libraries are loaded yet.
_EITHER = "either"
#: Name of a folder beside the others' logs; the process id follows.
_OWN = "stand-by-"


def wait_for_folder(threads: int, engine: str = "") -> None:
    """Returns, as the trainer of the folder that was named, with its libraries loaded. Ends when stdin is closed."""
    install()
    die_with_parent(signal.SIGKILL)
    set_environment(threads)
    untouched = dict(os.environ)
    try:
        loaded = _load(engine)
    except Exception:  # noqa: BLE001 - a fresh process will tell the job's page what is wrong
        traceback.print_exc()
        loaded = None
    line = _first_line()
    if not line:
        sys.exit(0)
    folder = Path(json.loads(line)["job_dir"])
    _become(folder)
    if loaded is None or loaded not in (_EITHER, _wanted(folder)):
        os.execve(sys.executable, [sys.executable, "-P", "-m", "worker.trainer", str(folder)], untouched)  # noqa: S606
    sys.argv[1:] = [str(folder)]


def _load(engine: str) -> str:
    """Import what can be; the engine that jobs in this process may use."""
    import datasets  # noqa: F401
    import torch

    if torch.cuda.is_available() and find_spec("unsloth") is not None and engine != "unsloth":
        return _EITHER
    name = engine or "hf"
    see_gpus(1)
    engine_module(name).prepare(_own_folder())
    from worker.trainer import recipe  # noqa: F401

    return name


def _own_folder() -> Path:
    """For what Unsloth compiles before there is a job; those of processes that are gone go."""
    for left in Path.cwd().glob(_OWN + "*"):
        if not pid_exists(int(left.name.removeprefix(_OWN))):
            shutil.rmtree(left, ignore_errors=True)
    return Path.cwd() / f"{_OWN}{os.getpid()}"


def _wanted(folder: Path) -> str:
    """The engine of the job in `folder`; a job that can't have the one it asks for is told so by a fresh process."""
    import torch

    config = read_spec(folder, TrainSpec).config
    try:
        return choose_engine(config.engine, cuda=torch.cuda.is_available(), processes=config.gpus)[0]
    except JobError:
        return ""


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
