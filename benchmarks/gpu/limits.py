"""Checks at the limits of a card: out of memory for real, and how soon a training starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from app.domain.jobs.config import TrainConfig
from app.domain.models.memory import smaller, step_down
from app.domain.models.shapes import shape_in
from benchmarks.gpu.cells import ENGINES, Cell, job_folder
from benchmarks.gpu.jobs import Found, sample_job
from benchmarks.gpu.runs import ROOT, events_of, run
from worker.trainer.protocol import Done, Error, Gpu, Log, Metric, Phase
from worker.trainer.specs import TrainSpec, read_spec


def out_of_memory(work: Path) -> Found:
    """A job that asks for too much, beside one that goes on and a stand-by; what is proposed; the same left to fit.

    Afterwards all the memory is back.
    """
    import torch

    free, total = torch.cuda.mem_get_info()
    cell = Cell("1b", 8192, batch=128, accumulation=1, steps=1, warm_up=0)
    neighbour = sample_job(work, "neighbour", "messages", engine="hf", max_steps=60)
    beside = subprocess.Popen([sys.executable, "-c", _BESIDE.format(root=str(ROOT), folder=str(neighbour))])
    waiting = stand_by(work)
    big, _ = run(job_folder(work / f"oom-{time.time_ns()}", cell, "hf", work / "1b", fit_memory=False))
    error = next((event for event in big if isinstance(event, Error)), None)
    config = read_config(cell, work)
    way = step_down(config, cell.length, may_quantise=True)
    shape = shape_in(work / "1b")
    assert way is not None
    assert shape is not None
    way = smaller(shape, *way, "hf", total)
    assert way is not None
    settings = ("per_device_train_batch_size", "gradient_accumulation_steps", "load_in", "max_seq_length")
    changes = {name: getattr(way[0], name) for name in settings}
    proposed, _ = run(job_folder(work / f"less-{time.time_ns()}", cell, "hf", work / "1b", **changes))
    itself, _ = run(job_folder(work / f"fit-{time.time_ns()}", cell, "hf", work / "1b", fit_memory=True))
    beside.wait(timeout=300)
    alive = waiting.poll() is None
    waiting.kill()
    time.sleep(2)
    after, _ = torch.cuda.mem_get_info()
    return {
        "class": error.error_class if error else "no error",
        "message": error.message if error else "",
        "advice": error.advice if error else "",
        "proposed": changes,
        "with the proposal": _ended(proposed),
        "left to fit itself": [_ended(itself), [e.message for e in itself if isinstance(e, Log)]],
        "neighbour": _ended(events_of(neighbour)),
        "stand-by alive": alive,
        "free before": free,
        "free after": after,
    }


def read_config(cell: Cell, work: Path) -> TrainConfig:
    """The settings of a cell."""
    return read_spec(job_folder(work / f"config-{time.time_ns()}", cell, "hf", work / "1b"), TrainSpec).config


def _ended(events: list[Any]) -> str:
    last = events[-1] if events else None
    peak = max((event.peak_reserved or 0 for event in events if isinstance(event, Gpu)), default=0)
    if isinstance(last, Done):
        return f"{last.outcome}, peak {peak / 2**30:.1f} GiB"
    return f"{last.error_class}: {last.message}" if isinstance(last, Error) else "did not end"


#: What a stand-by may take to load.
_WARMING_SECONDS = 45


def stand_by(work: Path, *loaded: str) -> subprocess.Popen[bytes]:
    """A trainer that has loaded its libraries, those of an engine too if one is named, and waits for a folder."""
    folder = work / f"stand-by-{time.time_ns()}"
    folder.mkdir()
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "worker.trainer", "--wait", "8", *loaded]
    return subprocess.Popen(command, stdin=subprocess.PIPE, cwd=folder, env=os.environ | {"PYTHONPATH": paths})


def starts(work: Path) -> Found:
    """Seconds to the first step of the 1 B model: a fresh process, and stand-bys that waited; nothing runs beside.

    And what a stand-by that has Unsloth loaded holds of the card while it waits.
    """
    found: Found = {}
    for engine in ENGINES:
        cold, began = run(_short_job(work, engine))
        found[f"{engine}, cold"] = _when(cold, began)
    waiting = {name: stand_by(work) for name in ENGINES}
    time.sleep(_WARMING_SECONDS / 2)
    before = _card_used()
    waiting["unsloth, loaded"] = stand_by(work, "unsloth")
    time.sleep(_WARMING_SECONDS)
    found["a loaded stand-by holds, in MiB"] = [after - was for was, after in zip(before, _card_used(), strict=True)]
    for name, process in waiting.items():
        found[f"{name}, stand-by"] = _told(process, _short_job(work, name.split(",")[0]))
    return found


def _told(waiting: subprocess.Popen[bytes], folder: Path) -> Found:
    assert waiting.stdin is not None
    told = time.time()
    waiting.stdin.write(json.dumps({"job_dir": str(folder)}).encode() + b"\n")
    waiting.stdin.flush()
    waiting.wait(timeout=200)
    return _when(events_of(folder), told)


def _card_used() -> list[int]:
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return [int(line) for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]


def _short_job(work: Path, engine: str) -> Path:
    return job_folder(work / f"start-{time.time_ns()}", Cell("1b", 2048, steps=1, warm_up=1), engine, work / "1b")


def _when(events: list[Any], began: float) -> Found:
    """Seconds from `began` to each phase and to the first step."""
    seen: Found = {}
    for event in events:
        name = event.phase if isinstance(event, Phase) else "step" if isinstance(event, Metric) else ""
        if name:
            seen.setdefault(name, round(event.at.timestamp() - began, 1))
        if isinstance(event, Error):
            seen["failed"] = event.message
    return seen


_BESIDE = """import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from benchmarks.gpu.runs import run
run(Path({folder!r}))
"""
