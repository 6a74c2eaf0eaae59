"""A running `tunedeck up` in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


class Dashboard:
    """A running `tunedeck up`."""

    def __init__(self, folder: Path, models: Path) -> None:
        self.data = folder / "data"
        self.address = ""
        self._log = folder / "up.log"
        env = {name: value for name, value in os.environ.items() if not name.startswith("TUNEDECK_")}
        env |= {
            "TUNEDECK_DATA_DIR": str(self.data),
            "TUNEDECK_WEB__PORT": "0",
            "TUNEDECK_HUB__OFFLINE": "true",
            "TUNEDECK_MODELS__LOCAL_ROOTS": f'["{models}"]',
            "HOME": str(folder),
        }
        with self._log.open("wb") as log:
            command = [sys.executable, "-P", "-m", "app.cli", "up"]
            self._process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)

    def wait(self) -> None:
        """Until the address is known."""
        file = self.data / "run" / "address"
        until = time.monotonic() + 90
        while not file.exists():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < until, self._log.read_text()
            time.sleep(0.1)
        self.address = file.read_text()

    def stop(self) -> None:
        """As Ctrl-C does."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise

    def kill(self) -> None:
        """As a power cut does, to the supervisor alone."""
        self._process.kill()
        self._process.wait()
