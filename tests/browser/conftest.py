"""A real browser before the real thing: `tunedeck up` in an empty folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import services
from tests.dashboard import Dashboard
from tests.export.conftest import small_llama

__all__ = ["small_llama"]

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = (
    "--no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --disable-extensions --disable-default-apps"
)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Debian's Chromium instead of a downloaded one."""
    chromium = services.needed(CHROMIUM, "Chromium")
    return browser_type_launch_args | {"executable_path": chromium, "args": _FLAGS.split()}


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory, small_llama: Path) -> Iterator[Dashboard]:
    """Everything on this machine, as a newcomer starts it."""
    running = Dashboard(tmp_path_factory.mktemp("up"), small_llama.parent)
    try:
        running.wait()
        yield running
    finally:
        running.stop()
