"""Job folders for the trainer, run by hand as its own process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from tests.tiny_model import tiny_rows, write_rows
from tests.trainer.nursery import Forked, fork
from worker.trainer.protocol import EVENTS_FILE, Done, Event, parse
from worker.trainer.specs import ModelSpec, TrainSpec, write_spec

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = ({"prompt": "Say red then blue."}, {"prompt": "Say cat.", "system": "You repeat words."})
EventT = TypeVar("EventT", bound=BaseModel)


def train_job(folder: Path, model: Path, *, resume_from: Path | None = None, **changes: Any) -> Path:
    """A job folder with 40 rows and 4 held out; `changes` go into the config, `answered` into the spec."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "train.jsonl", tiny_rows(40))
    write_rows(folder / "validation.jsonl", tiny_rows(4, seed=1))
    answered, start_from = changes.pop("answered", ()), changes.pop("start_from", None)
    config: dict[str, Any] = {
        "base_model": str(model),
        "engine": "auto",
        "max_steps": 40,
        "learning_rate": 1e-2,
        "gradient_accumulation_steps": 1,
        "lora_dropout": 0.05,
        "questions": QUESTIONS,
        "max_new_tokens": 6,
    }
    spec = {
        "config": config | changes,
        "model": ModelSpec(base_model=str(model), model_cache=folder / "models", offline=True),
        "resume_from": resume_from,
        "answered": answered,
        "start_from": start_from,
    }
    write_spec(folder, TrainSpec.model_validate(spec))
    return folder


def start_warm(folder: Path) -> Forked:
    """A trainer of `folder` whose libraries are loaded already; not for Unsloth, nor for several ranks."""
    (folder / "cwd").mkdir(exist_ok=True)
    return fork(folder, _variables({}))


def finish_warm(folder: Path) -> list[Event]:
    """Run the job to its end so; the events."""
    start_warm(folder).wait()
    return events(folder)


def _variables(env: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT), **env}


def start(folder: Path, kind: str = "trainer", **env: str) -> subprocess.Popen[bytes]:
    """`python -m worker.<kind> folder`, in a working directory that must stay empty."""
    (folder / "cwd").mkdir(exist_ok=True)
    variables = _variables(env)
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", f"worker.{kind}", str(folder)],
            cwd=folder / "cwd",
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def finish(folder: Path, kind: str = "trainer", **env: str) -> list[Event]:
    """Run the job to its end; the events."""
    start(folder, kind, **env).wait(timeout=280)
    return events(folder)


def events(folder: Path) -> list[Event]:
    """The whole lines of events.jsonl."""
    file = folder / EVENTS_FILE
    data = file.read_bytes() if file.exists() else b""
    return [parse(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def of(found: list[Event], kind: type[EventT]) -> list[EventT]:
    """The events of one kind."""
    return [event for event in found if isinstance(event, kind)]


def wait_for(folder: Path, sign: Callable[[list[Event]], bool], seconds: float = 120) -> None:
    """Until the events so far satisfy `sign`."""
    deadline = time.monotonic() + seconds
    while not sign(events(folder)):
        assert time.monotonic() < deadline, (folder / "output.txt").read_text()[-3000:]
        time.sleep(0.01)


def succeeded(found: list[Event]) -> bool:
    """Whether the last line says so."""
    return bool(found) and isinstance(found[-1], Done) and found[-1].outcome == "succeeded"
