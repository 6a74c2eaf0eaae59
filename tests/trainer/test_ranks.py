"""One training by several processes: here two on the CPU, which is the same but for the device."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.trainer.jobs import events, finish, finish_warm, of, start, succeeded, train_job, wait_for
from worker.trainer import ranks
from worker.trainer.protocol import Answer, Checkpoint, Done, Event, Log, Metric, write_control

pytestmark = pytest.mark.slow
SETTINGS: dict[str, Any] = {"max_steps": 12, "lora_dropout": 0.0, "gradient_accumulation_steps": 2, "save_steps": 4}


def losses(found: list[Event]) -> dict[int, float]:
    """Step -> training loss."""
    return {metric.step: metric.values["loss"] for metric in of(found, Metric) if "loss" in metric.values}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[int, float]:
    """The curve of one process."""
    folder = train_job(tmp_path_factory.mktemp("alone"), tiny_model, **SETTINGS)
    return losses(finish_warm(folder))


def test_two_take_the_same_way_as_one(alone: dict[int, float], tmp_path: Path, tiny_model: Path) -> None:
    folder = train_job(tmp_path / "two", tiny_model, gpus=2, **SETTINGS)
    found = finish(folder)
    assert succeeded(found), (folder / "output.txt").read_text()[-3000:]
    assert losses(found) == pytest.approx(alone, abs=2e-3)
    assert sum("2 devices" in line.message for line in of(found, Log)) == 1  # one of them speaks
    assert len(of(found, Answer)) == 4
    assert [c.step for c in of(found, Checkpoint)] == [4, 8, 12]
    newest = folder / of(found, Checkpoint)[-1].path
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {file.name for file in newest.iterdir()}


def test_two_pause_together_and_go_on_where_they_were(
    alone: dict[int, float], tmp_path: Path, tiny_model: Path
) -> None:
    paused = train_job(tmp_path / "paused", tiny_model, gpus=2, **SETTINGS)
    child = start(paused)
    wait_for(paused, lambda found: 3 in losses(found))
    write_control(paused, "pause")
    child.wait(timeout=200)
    first = events(paused)
    assert isinstance(first[-1], Done), (paused / "output.txt").read_text()[-3000:]
    assert first[-1].outcome == "paused"
    last = paused / of(first, Checkpoint)[-1].path
    resumed = train_job(tmp_path / "resumed", tiny_model, gpus=2, resume_from=last, **SETTINGS)
    second = finish(resumed)
    assert succeeded(second), (resumed / "output.txt").read_text()[-3000:]
    assert losses(first) | losses(second) == pytest.approx(alone, abs=2e-3)


def test_when_one_dies_none_lives_on(tmp_path: Path, tiny_model: Path) -> None:
    folder = train_job(tmp_path / "dies", tiny_model, gpus=2, **SETTINGS | {"max_steps": 2000})
    child = start(folder)
    wait_for(folder, lambda found: 2 in losses(found))
    (other,) = (process for process in psutil.Process(child.pid).children() if ranks.RANK in process.cmdline())
    os.kill(other.pid, signal.SIGKILL)
    assert child.wait(timeout=100) != 0
    assert not any(isinstance(event, Done) for event in events(folder))
