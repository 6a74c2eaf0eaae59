"""Look the pinned packages up among published advisories: `make audit`.

Needs the network. Where the advisories can't be reached, that is said in one line and nothing fails: a check that
stops every build on a train would soon be switched off. A finding fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
#: Of each request, and of everything, in seconds.
TIMEOUT, WHOLE = 5, 90


def main() -> int:
    """0 when there is nothing to tell, or nothing could be told."""
    packages, why_not = everything()
    looked_up = [package for package in packages if "vulns" in package]
    if not looked_up:
        print(f"!!! SKIPPED: dependencies were NOT audited: {why_not or 'no advisories where the index answers'}.")
        return 0
    left_out = [package["name"] for package in packages if "vulns" not in package]
    if left_out:
        print(f"!!! NOT AUDITED, for nothing is published about them: {', '.join(left_out)}.")
    found = [line for package in looked_up for line in lines_of(package)]
    print("\n".join(found) or f"Advisories: none for {len(looked_up)} pinned packages.")
    return 1 if found else 0


def everything() -> tuple[list[dict[str, Any]], str]:
    """One entry for each pin. A single one is asked for first: 180 requests to somebody who knows nothing take long."""
    first = next(line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if line.startswith("fastapi=="))
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(first + "\n")
        file.flush()
        packages, why_not = ask(Path(file.name))
    return ask(CONSTRAINTS) if any("vulns" in package for package in packages) else (packages, why_not)


def ask(pins: Path) -> tuple[list[dict[str, Any]], str]:
    """What pip-audit says of each pin; or none, and why it said nothing."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(pins), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", str(TIMEOUT)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WHOLE)
    except subprocess.TimeoutExpired:
        return [], f"no answer within {WHOLE} s"
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        return [], short(done.stderr)
    return packages, ""


def short(said: str) -> str:
    """The kind of trouble, without addresses."""
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "it said nothing")
    return last.rpartition("(Caused by ")[2].partition("(")[0] or last[:80]


def lines_of(package: dict[str, Any]) -> list[str]:
    """One line for each advisory."""
    return [
        f"{package['name']} {package['version']}: {each['id']}, mended in "
        f"{', '.join(each['fix_versions']) or 'no version yet'}"
        for each in package["vulns"]
    ]


if __name__ == "__main__":
    sys.exit(main())
