"""Log lines: for people on a terminal, for machines as JSON, with the job they are about."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import logging
from app.core.logging import about_job, setup_logging
from app.core.settings import get_settings
setup_logging(get_settings().log)
log = logging.getLogger("some.room")
with about_job(7, 2):
    log.info("begins\\nforged line")
log.warning("lost", extra={"job": 8, "attempt": 1})
log.debug("silent")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broke")
"""


def written(**env: str) -> list[str]:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | env, capture_output=True, text=True, check=True, timeout=120
    )
    return done.stderr.splitlines()


def test_json_lines_name_the_job() -> None:
    lines = [json.loads(line) for line in written(TUNEDECK_LOG__FORMAT="json")]
    first, second, third = lines
    assert (first["job"], first["attempt"], first["message"]) == (7, 2, "begins\nforged line")
    assert (first["level"], first["logger"]) == ("info", "some.room")
    assert (second["job"], second["level"]) == (8, "warning")
    assert "job" not in third
    assert "ZeroDivisionError" in third["error"]
    assert third["at"].endswith("+00:00")


def test_plain_lines_name_the_job_too() -> None:
    lines = written(TUNEDECK_LOG__LEVEL="WARNING")
    assert lines[0].endswith("WARNING some.room: [job 8] lost")
    assert lines[1].endswith("ERROR   some.room: broke")
