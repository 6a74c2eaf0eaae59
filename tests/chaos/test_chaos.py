"""Twenty seeds of the durability run; `make chaos` runs two hundred."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import services
from tests.chaos.drive import run
from tests.chaos.faults import FAULTS
from tests.chaos.heard import Watcher
from tests.chaos.world import SCRIPTED, World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def _servers() -> None:
    services.needed(shutil.which("redis-server"), "Redis")
    services.needed(str(services._postgres_binaries() or "") or None, "Postgres")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Not pytest's own: its next session, of anyone, closes those to Postgres, which runs as another user."""
    with tempfile.TemporaryDirectory(prefix="tunedeck-chaos-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.mark.parametrize("first", [0, 1], ids=["sqlite", "postgres"])
def test_whatever_is_killed_every_job_ends_as_if_nothing_had_been(first: int, open_folder: Path) -> None:
    batch = run(open_folder, list(range(first, 20, 2)), slack=20)
    assert batch.findings() == []
    assert sum(batch.faults().values()) >= 5, batch.faults()
    assert set(batch.faults()) <= set(FAULTS)


def _writes(file: Path) -> bool:
    try:
        file.write_bytes(b"more")
    except OSError:
        return False
    return True


def test_a_disk_that_is_full_refuses(tmp_path: Path) -> None:
    world = World(tmp_path, SCRIPTED, postgres=False)
    try:
        if not world.disk.real:
            pytest.xfail("no disk may be mounted here; the runs limit the trainer's file size instead")
        world.disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (world.disk.place / "one").write_bytes(b"more")
        world.disk.free()
        until = time.monotonic() + 60
        while not _writes(world.disk.place / "one"):  # the kernel gives room back in its own time
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        world.close()


def test_a_trainer_that_outlives_its_lease_is_noticed(tmp_path: Path) -> None:
    world = World(tmp_path, SCRIPTED, postgres=False)
    try:
        watcher = Watcher(world.ctx.storage.path("runs"), lease=-1000.0)  # every trainer is overdue by this one
        watcher.start()
        world.enqueue(1)
        until = time.monotonic() + 200
        while not watcher.latest() and time.monotonic() < until:
            time.sleep(0.05)
        watcher.stop()
        assert watcher.latest() > 0
        assert world.watcher.latest() < 20
    finally:
        world.close()
