"""One training on one GPU and on two: the same way, the speed, and a pause in between."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu.cells import Cell, job_folder
from benchmarks.gpu.jobs import Found, sample_job
from benchmarks.gpu.runs import run
from worker.trainer.protocol import Checkpoint, Error, Gpu, Log, Metric, write_control
from worker.trainer.specs import TrainSpec, read_spec, write_spec

_PAUSED_AT = 9


def several(work: Path) -> Found:
    """SmolLM2 on one and on two GPUs, and paused on two; then the 1 B model's speed on one and on two, in turn."""
    cases = [partial(_losses_of, work, gpus) for gpus in (1, 2)] + [partial(_paused, work)]
    with ThreadPoolExecutor(len(cases)) as pool:
        one, two, paused = [waiting.result() for waiting in [pool.submit(case) for case in cases]]
    found: Found = {"losses on one": one, "losses on two": two, "paused on two": paused}
    for load_in in ("none", "4bit"):
        for gpus in (1, 2):
            found[f"1b {load_in}, {gpus}"] = _speed(work, gpus, load_in)
    return found


def _losses_of(work: Path, gpus: int) -> list[float]:
    return _losses(run(sample_job(work, f"several-{gpus}", "messages", engine="hf", gpus=gpus))[0])


def _losses(events: list[Any]) -> Any:
    losses = [
        round(event.values["loss"], 4) for event in events if isinstance(event, Metric) and "loss" in event.values
    ]
    return losses or [event.message for event in events if isinstance(event, Error)]


def _paused(work: Path) -> Found:
    first = sample_job(work, "several-paused", "messages", engine="hf", gpus=2, save_steps=_PAUSED_AT)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, first)
        while not running.done() and not any((first / "checkpoints").glob("checkpoint-*")):
            time.sleep(0.05)
        write_control(first, "pause")
        one = running.result()[0]
    last = [event for event in one if isinstance(event, Checkpoint)][-1]
    second = sample_job(work, "several-resumed", "messages", engine="hf", gpus=2)
    write_spec(second, read_spec(second, TrainSpec).model_copy(update={"resume_from": first / last.path}))
    return {"at": last.step, "before": _losses(one), "after": _losses(run(second)[0])}


def _speed(work: Path, gpus: int, load_in: str) -> Found:
    """The same rows in a step: 2 × 8 on one, and 8 on each of two."""
    cell = Cell("1b", 2048, load_in, steps=8, batch=8, accumulation=2)
    events, began = run(job_folder(work / f"several-{time.time_ns()}", cell, "hf", work / "1b", gpus=gpus))
    metrics = [event for event in events if isinstance(event, Metric) and "tokens_per_second" in event.values]
    speeds = [event.values["tokens_per_second"] for event in metrics if event.step > cell.warm_up]
    return {
        "tokens a second": statistics.median(speeds) if speeds else 0,
        "peak": max((event.peak_allocated or 0 for event in events if isinstance(event, Gpu)), default=0),
        "first step": metrics[0].at.timestamp() - began if metrics else None,
        "losses": _losses(events),
        "said": [event.message for event in events if isinstance(event, Log)][:6],
    }
