"""`make audit`: a finding fails, silence is said aloud."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "audit.py"


def test_where_nothing_is_reached_it_says_so_and_fails_nothing() -> None:
    env = os.environ | {"HTTPS_PROXY": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": ""}
    env |= {name.lower(): value for name, value in env.items() if name in {"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"}}
    done = subprocess.run([sys.executable, SCRIPT], env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"!!! SKIPPED: dependencies were NOT audited: .{3,90}\.\n", done.stdout)
    assert "://" not in done.stdout


def test_a_finding_is_one_line() -> None:
    lines_of = runpy.run_path(str(SCRIPT))["lines_of"]
    package = {
        "name": "a",
        "version": "1",
        "vulns": [{"id": "X-1", "fix_versions": ["2"]}, {"id": "X-2", "fix_versions": []}],
    }
    assert lines_of(package) == ["a 1: X-1, mended in 2", "a 1: X-2, mended in no version yet"]
