"""One run of the trainer, or of the bare script beside it, and what is read from its events."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from worker.trainer.protocol import EVENTS_FILE, Done, Error, Event, Gpu, Metric, Phase, parse

ROOT = Path(__file__).resolve().parents[2]


def events_of(folder: Path) -> list[Event]:
    """Every event the run wrote."""
    file = folder / EVENTS_FILE
    return [parse(line) for line in file.read_bytes().splitlines()] if file.exists() else []


def run(folder: Path, module: str = "worker.trainer", seconds: float = 580) -> tuple[list[Event], float]:
    """Run `python -m module folder` to its end: its events, and the clock's time at which it was started."""
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    started = time.time()
    with (folder / "output.log").open("ab") as output:
        subprocess.run(
            [sys.executable, "-m", module, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"},
            cwd=folder,
            timeout=seconds,
            check=False,
        )
    return events_of(folder), started


def measured(folder: Path, warm_up: int, module: str = "worker.trainer") -> dict[str, Any]:
    """The numbers of one run: tokens a second (median of the steps after the warm-up), memory, losses, seconds."""
    found, started = run(folder, module)
    metrics = [event for event in found if isinstance(event, Metric) and "loss" in event.values]
    memory = [event for event in found if isinstance(event, Gpu)]
    if not found or not isinstance(found[-1], Done):
        said = [event.message for event in found if isinstance(event, Error)]
        return {"failed": (said or [(folder / "output.log").read_text(errors="replace")[-1500:]])[0]}
    speeds = [event.values["tokens_per_second"] for event in metrics if event.step > warm_up]
    return {
        "tokens_per_second": statistics.median(speeds),
        "speeds": [round(speed, 1) for speed in speeds],
        "peak_allocated": max((event.peak_allocated or 0 for event in memory), default=0),
        "peak_reserved": max((event.peak_reserved or 0 for event in memory), default=0),
        "first_step_seconds": metrics[0].at.timestamp() - started,
        "whole_seconds": found[-1].at.timestamp() - started,
        "phases": {e.phase: round(e.at.timestamp() - started, 1) for e in reversed(found) if isinstance(e, Phase)},
        "losses": [round(event.values["loss"], 5) for event in metrics],
    }
