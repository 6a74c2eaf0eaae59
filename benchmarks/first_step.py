"""Click to first training step through queue, claim, child and event log, against the same trainer started by hand."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from app.core.context import Context, make_context
from app.core.migrate import upgrade
from app.core.settings import Settings
from app.domain import tables
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.jobs import service as jobs
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.launch import launch_training
from app.domain.jobs.states import FINAL
from app.supervisor import Supervisor
from tests.tiny_model import build_tiny_model, tiny_rows
from worker.standby import memory_held

__all__ = ["main", "tables"]

ROUNDS = 3
#: A stand-by holds at least this much once it is ready.
STANDBY_MB = 300


def add_rows(ctx: Context) -> int:
    """A ready data set of forty rows."""
    key = "datasets/tiny.jsonl"
    ctx.storage.make_parent(key).write_text("".join(json.dumps(row) + "\n" for row in tiny_rows(40)))
    with ctx.db.session(write=True) as session:
        dataset = Dataset(name="tiny", filename="tiny.jsonl", size=1, sha256="0", source_key=key, rows_key=key)
        dataset.state, dataset.row_count, dataset.format = DatasetState.READY, 40, "messages"
        session.add(dataset)
        session.flush()
        return dataset.id or 0


def through_the_queue(ctx: Context, dataset_id: int, config: TrainConfig) -> tuple[float, Path]:
    """(seconds from the launch's commit to the first stored metric, folder of the run)."""
    begun = time.perf_counter()
    with ctx.db.session(write=True) as session:
        job_id = (
            launch_training(session, ctx.bells, ctx.settings, dataset_id=dataset_id, name="bench", config=config).id
            or 0
        )
    first = 0.0
    while True:
        with ctx.db.session() as session:
            job = jobs.get_job(session, job_id)
        if job.step and not first:
            first = time.perf_counter() - begun
        if job.job_state in FINAL:
            return first, ctx.storage.path(f"runs/{job_id}/a{job.attempt}")
        time.sleep(0.005)


def settle() -> None:
    """Until the stand-by has loaded what it loads: its memory no longer grows."""
    held, since = -1, time.monotonic()
    while time.monotonic() - since < 3:
        now = memory_held() // 1_000_000
        if now != held or now < STANDBY_MB:
            held, since = now, time.monotonic()
        time.sleep(0.2)


def by_hand(run: Path, folder: Path) -> float:
    """Seconds from the start of `python -m worker.trainer` to its first metric line."""
    folder.mkdir()
    for name in ("job.json", "train.jsonl", "validation.jsonl"):
        shutil.copy(run / name, folder / name)
    begun = time.perf_counter()
    command = [sys.executable, "-P", "-m", "worker.trainer", str(folder)]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, cwd=folder)
    events, first = folder / "events.jsonl", 0.0
    while process.poll() is None:
        if not first and events.exists() and b'"kind":"metric"' in events.read_bytes():
            first = time.perf_counter() - begun
        time.sleep(0.005)
    return first


def main() -> None:
    """Alternate the two and print medians, ratio and difference."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = build_tiny_model(folder / "tiny")
        os.environ["TUNEDECK_MODELS__LOCAL_ROOTS"] = json.dumps([str(folder)])
        settings = Settings.model_validate({"data_dir": folder / "data", "web": {"port": 0}})
        settings.root.mkdir()
        upgrade(settings.database)
        supervisor = Supervisor(settings)
        supervisor.start()
        try:
            queue, hand = measure(make_context(settings), TrainConfig(base_model=str(model), max_steps=3), folder)
        finally:
            supervisor.stop()
    ours, bare = statistics.median(queue), statistics.median(hand)
    print(f"click to first step, through the dashboard   {ours:6.2f} s")
    print(f"the same trainer started by hand             {bare:6.2f} s")
    print(f"ratio {ours / bare:.2f}×, {ours - bare:+.2f} s")


def measure(ctx: Context, config: TrainConfig, folder: Path) -> tuple[list[float], list[float]]:
    """Both, alternating; the first round only warms the disk."""
    dataset_id = add_rows(ctx)
    queue, hand = [], []
    for number in range(ROUNDS + 1):
        settle()
        seconds, run = through_the_queue(ctx, dataset_id, config)
        settle()
        bare = by_hand(run, folder / f"hand-{number}")
        if number:
            queue.append(seconds)
            hand.append(bare)
    return queue, hand
