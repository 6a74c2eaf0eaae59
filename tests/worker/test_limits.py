"""A job that takes more than its share of a worker is ended in words, and the next one runs."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.core.context import Context
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Job
from app.domain.jobs.states import JobKind
from tests.worker.training import queued
from worker import watch
from worker.process import MODULES
from worker.runner import Runner
from worker.watch import memory_of, size_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hungry(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs one job that behaves in a way of `hungry.py`; the job as it ended."""
    monkeypatch.setitem(MODULES, JobKind.TRAIN, "tests.worker.hungry")
    monkeypatch.setattr("worker.process._PASSED", ("PATH", "HOME", "PYTHONPATH"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(wish: str) -> Job:
        monkeypatch.setenv("NCCL_WISH", wish)
        (job_id,) = queued(ctx, 1)
        Runner(ctx, "w", "gpu").run_waiting()
        with ctx.db.session() as session:
            return jobs.get_job(session, job_id)

    return run


def folder(ctx: Context, job: Job) -> Path:
    return ctx.storage.path(f"runs/{job.id}/a{job.attempt}")


@pytest.mark.parametrize("wish", ["memory", "memory_below"])
def test_one_that_takes_too_much_memory_is_ended_and_the_next_runs(ctx: Context, hungry: Any, wish: str) -> None:
    ctx.settings.worker.child_memory_gb = 0.2
    began = time.monotonic()
    job = hungry(wish)
    assert (job.state, job.error["class"], job.losses) == ("failed", "out_of_memory", 0)
    assert "a job may hold 0.2 GB" in job.error["message"]
    assert "CHILD_MEMORY_GB" in job.error["advice"]
    assert time.monotonic() - began < 30
    pid = int((folder(ctx, job) / "pid").read_text())
    assert not psutil.pid_exists(pid)
    assert hungry("ends_well").state == "succeeded"


@pytest.mark.parametrize("wish", ["mapped", "reserved"])
def test_files_that_are_read_and_address_space_that_is_reserved_count_for_nothing(
    ctx: Context, hungry: Any, wish: str
) -> None:
    ctx.settings.worker.child_memory_gb = 0.2
    job = hungry(wish)
    assert job.state == "succeeded", job.error


def test_one_that_writes_too_much_is_ended_and_the_next_runs(ctx: Context, hungry: Any) -> None:
    ctx.settings.worker.child_disk_gb = 0.05
    job = hungry("many_files")
    assert (job.state, job.error["class"]) == ("failed", "disk_full")
    assert "a job may write 0.05 GB" in job.error["message"]
    assert size_of([folder(ctx, job)]) < 150_000_000
    assert hungry("ends_well").state == "succeeded"


def test_one_file_can_not_run_past_the_limit_between_two_looks(ctx: Context, hungry: Any) -> None:
    ctx.settings.worker.child_disk_gb = 0.05
    job = hungry("one_file")
    assert (job.state, job.error["class"]) == ("failed", "disk_full")
    assert (folder(ctx, job) / "file").stat().st_size <= 50_000_000
    assert "CHILD_DISK_GB" in job.error["advice"]


def test_without_a_limit_the_disk_is_not_filled_to_the_last_byte(
    ctx: Context, hungry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk here is large: what must stay free is, for the test, nearly all of it."""
    monkeypatch.setattr(watch, "LEAST_FREE", 60_000_000)
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=50_000_000))
    job = hungry("many_files")
    assert (job.state, job.error["class"]) == ("failed", "disk_full")
    assert "ended before the others fail" in job.error["message"]
    assert hungry("ends_well").state == "succeeded"  # it wrote next to nothing: not its fault


def test_no_core_dump_and_first_to_go_when_memory_runs_out(ctx: Context, hungry: Any) -> None:
    job = hungry("ends_well")
    limits = (folder(ctx, job) / "limits").read_text().splitlines()
    core = next(line for line in limits if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    assert int((folder(ctx, job) / "oom").read_text()) == 500


def test_a_file_of_two_names_counts_once_and_what_is_gone_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(100_000))
    one = size_of([tmp_path])
    os.link(tmp_path / "a", tmp_path / "b")
    assert size_of([tmp_path, tmp_path]) == one >= 100_000
    assert size_of([tmp_path / "gone"]) == 0
    assert memory_of(2**22 + 1) == 0
    assert memory_of(os.getpid()) > 1_000_000
