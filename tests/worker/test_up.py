"""`tunedeck up` is killed, and started again as if nothing had been."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.dashboard import Dashboard

pytestmark = pytest.mark.slow


def parts_of(dashboard: Dashboard) -> list[psutil.Process]:
    """The processes that belong to this data folder."""
    found = []
    for process in psutil.process_iter(["environ", "cmdline"]):
        environ = process.info["environ"] or {}
        if environ.get("TUNEDECK_DATA_DIR") == str(dashboard.data) and environ.get("TUNEDECK_SUPERVISED"):
            found.append(process)
    return found


def test_a_killed_supervisor_takes_its_parts_along_and_starts_again(tmp_path: Path) -> None:
    first = Dashboard(tmp_path, tmp_path)
    first.wait()
    assert len(parts_of(first)) >= 3
    first.kill()
    until = time.monotonic() + 20
    while parts_of(first):
        assert time.monotonic() < until, parts_of(first)
        time.sleep(0.1)

    (first.data / "run" / "address").unlink()
    second = Dashboard(tmp_path, tmp_path)
    try:
        second.wait()
        with urllib.request.urlopen(f"{second.address}/readyz", timeout=5) as answer:
            assert answer.status == 200
    finally:
        second.stop()
    assert parts_of(second) == []
