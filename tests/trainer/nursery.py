"""`python -m tests.trainer.nursery`: loads the training libraries once, and each trainer asked for is a fork of it.

A trainer takes four seconds of the processor to load them and less than one for its job. A fork runs the same `main()`
on the same folder, as a process of its own with its own working directory, environment and output. Asked for by a
line `[folder, environment]` on stdin; answered by its process id. Its exit code goes to the file `EXIT` in the folder.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import IO, NoReturn

ROOT = Path(__file__).resolve().parents[2]
EXIT = "exit.txt"


class Forked:
    """What a test needs of a `Popen`."""

    def __init__(self, folder: Path, pid: int) -> None:
        self._exit, self.pid = folder / EXIT, pid

    def wait(self, timeout: float = 280) -> int:
        """The exit code, negative for a signal's number. Raises `TimeoutExpired`."""
        until = time.monotonic() + timeout
        while not self._exit.exists():
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("a forked trainer", timeout)
            time.sleep(0.02)
        return int(self._exit.read_text())

    def send_signal(self, number: int) -> None:
        """To the process, which is there until it was waited for."""
        os.kill(self.pid, number)


def fork(folder: Path, env: dict[str, str]) -> Forked:
    """A trainer of `folder`, its libraries loaded."""
    orders, answers = _nursery()
    (folder / EXIT).unlink(missing_ok=True)
    orders.write(json.dumps([str(folder), env]) + "\n")
    orders.flush()
    return Forked(folder, int(answers.readline()))


@cache
def _nursery() -> tuple[IO[str], IO[str]]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.trainer.nursery"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    atexit.register(_close, process)
    return process.stdin, process.stdout


def _close(process: subprocess.Popen[str]) -> None:
    process.communicate()  # closes its stdin, and waits


def main() -> None:
    """Until stdin is closed."""
    from app.core.process import loading
    from worker.trainer.environment import set_environment

    set_environment(1)
    with loading():
        from worker.trainer import recipe  # noqa: F401
        from worker.trainer.engines import hf

        hf.prepare(Path())
    for line in sys.stdin:
        folder, env = json.loads(line)
        if os.fork() == 0:
            _keep(Path(folder), env)
        os.wait()  # for the one between, which goes at once


def _keep(folder: Path, env: dict[str, str]) -> NoReturn:
    """Between the two: ends once its child, who keeps the trainer, has told the trainer's number."""
    if os.fork() > 0:
        os._exit(0)
    trainer = os.fork()
    if trainer == 0:
        _become(folder, env)
    print(trainer, flush=True)
    _pid, status = os.waitpid(trainer, 0)
    (folder / f"{EXIT}.part").write_text(str(os.waitstatus_to_exitcode(status)))
    (folder / f"{EXIT}.part").rename(folder / EXIT)
    os._exit(0)


def _become(folder: Path, env: dict[str, str]) -> NoReturn:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number, target in enumerate((nothing, output, output)):
        os.dup2(target, number)
    os.chdir(folder / "cwd")
    os.environ.clear()
    os.environ.update(env)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["worker.trainer", str(folder)]
    code = 1
    try:
        from worker.trainer.__main__ import main as train

        code = train()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
