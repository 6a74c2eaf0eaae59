"""Many runs loaded side by side, each timed alone: `python -m benchmarks.gpu field CELL … --pairs N`.

Loading takes longer than the steps that are timed. So all processes of a field load and warm up together, are stopped
(SIGSTOP) after their warm-up, and are let go one at a time, the sides of each pair in turn. The step in which a process
was stopped does not count. Memory, losses and tokens are as in a run of its own; the seconds to the first step are not.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.cells import Cell
from benchmarks.gpu.runs import ROOT, events_of
from worker.trainer.protocol import Done, Error, Gpu, Metric

_LOOK_SECONDS = 0.05
#: A process that is not warm by then is given up.
_PATIENCE_SECONDS = 240


@dataclass
class Runner:
    """One process: its cell, which side of a pair it is, and its folder."""

    cell: Cell
    label: str
    pair: int
    folder: Path
    module: str
    process: subprocess.Popen[bytes] | None = None
    stopped_at: int = -1
    #: Only its speed is wanted, not its memory, which is told at the end.
    brief: bool = False

    def start(self) -> None:
        """Load and warm up."""
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        with (self.folder / "output.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"},
                cwd=self.folder,
            )

    @property
    def over(self) -> bool:
        """Whether the process has ended."""
        return self.process is None or self.process.poll() is not None

    def steps(self) -> list[Metric]:
        """The steps so far."""
        return [e for e in _readable(self.folder) if isinstance(e, Metric) and "loss" in e.values]

    def halt(self) -> None:
        """Stop where it is."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)  # what the card has been given is done by then
        self.stopped_at = max((step.step for step in self.steps()), default=0)

    def run_on(self, seconds: float) -> None:
        """Go on to the end; a side of a pair only to its last step."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        until, last = time.monotonic() + seconds, self.cell.warm_up + self.cell.steps
        while not self.over and time.monotonic() < until and not (self.brief and len(self.steps()) >= last):
            time.sleep(_LOOK_SECONDS)
        self.process.kill()
        self.process.wait()

    def numbers(self) -> dict[str, Any]:
        """What was measured, or why nothing was."""
        found = _readable(self.folder)
        if not found or not (self.brief or isinstance(found[-1], Done)):
            said = [event.message for event in found if isinstance(event, Error)]
            return {"failed": (said or [(self.folder / "output.log").read_text(errors="replace")[-1500:]])[0]}
        speeds = [step.values["tokens_per_second"] for step in self.steps() if step.step > self.stopped_at + 1]
        memory = [event for event in found if isinstance(event, Gpu)]
        return {
            "tokens_per_second": statistics.median(speeds) if speeds else 0.0,
            "speeds": [round(speed, 1) for speed in speeds],
            "peak_allocated": max((event.peak_allocated or 0 for event in memory), default=0),
            "peak_reserved": max((event.peak_reserved or 0 for event in memory), default=0),
            "losses": [round(step.values["loss"], 5) for step in self.steps()],
        }


def _readable(folder: Path) -> list[Any]:
    try:
        return list(events_of(folder))
    except ValueError:  # a line half written
        time.sleep(_LOOK_SECONDS)
        return _readable(folder)


def run_field(runners: list[Runner], done: Callable[[Runner, dict[str, Any]], None], after: Path | None = None) -> None:
    """Warm all up together, then time one after the other; `done` gets each one's numbers.

    `after`: a file that must be there before anything is timed, for work beside that must have ended.
    """
    for runner in runners:
        runner.start()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    warming = list(runners)
    while warming and time.monotonic() < deadline:
        for runner in [r for r in warming if r.over or len(r.steps()) >= r.cell.warm_up]:
            if not runner.over:
                runner.halt()
            warming.remove(runner)
        time.sleep(_LOOK_SECONDS)
    for runner in warming:
        assert runner.process is not None
        runner.process.kill()
    while after is not None and not after.exists():
        time.sleep(_LOOK_SECONDS)
    for runner in runners:
        if not runner.over:
            runner.run_on(_PATIENCE_SECONDS)
        done(runner, runner.numbers())
