"""`make fuzz`: generated files through the intake, until there are RUNS; docs/fuzz.md keeps the table.

    python -m tests.fuzz [RUNS] [SEED]

Each seed is a lap of a thousand files. What is done stands in .cache/fuzz.json, so an interrupted run goes on where it
was.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.check import check
from tests.fuzz.files import Made, files

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".cache" / "fuzz.json"
PAPER, HEAD = ROOT / "docs" / "fuzz.md", Path(__file__).with_name("fuzz.head.md")
LAP = 1_000


def lap(number: int, count: int = LAP) -> Counter[str]:
    """`count` files of one seed: how they ended. Raises what the first bad one raised, made as small as can be."""
    ends: Counter[str] = Counter()

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(files())
    def one(made: Made) -> None:
        ends[check(made)] += 1

    one()
    return ends


def main() -> int:
    """Laps until there are enough files."""
    runs, number = int(sys.argv[1]), int(sys.argv[2])
    laps: dict[str, dict[str, object]] = json.loads(STATE.read_text()) if STATE.exists() else {}
    while len(laps) * LAP < runs:
        if str(number) not in laps:
            begun = time.monotonic()
            ends = lap(number)
            print(f"seed {number}: {dict(ends)}, {time.monotonic() - begun:.0f} s", flush=True)
            laps[str(number)] = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "ends": dict(ends)}
            STATE.parent.mkdir(exist_ok=True)
            STATE.write_text(json.dumps(laps))
            write(laps)
        number += 1
    write(laps)
    return 0


def write(laps: dict[str, dict[str, object]]) -> None:
    """The paper: its head, then one line for each day. A finding ends the run, so what stands here had none."""
    kinds = ("kept", "kept with problems", "problems only", "unknown columns", "refused")
    lines = [f"| date | seeds | files | {' | '.join(kinds)} |", "|---" * (3 + len(kinds)) + "|"]
    for day in sorted({str(each["date"]) for each in laps.values()}):
        mine = {int(number): each["ends"] for number, each in laps.items() if each["date"] == day}
        total: Counter[str] = Counter()
        for ends in mine.values():
            assert isinstance(ends, dict)
            total.update(ends)
        shown = " | ".join(f"{total[kind]:,}" for kind in kinds)
        lines.append(f"| {day} | {_ranges(sorted(mine))} | {total.total():,} | {shown} |")
    PAPER.write_text(HEAD.read_text(encoding="utf-8") + "\n".join(lines) + "\n", encoding="utf-8")


def _ranges(numbers: list[int]) -> str:
    """`0–49, 60–61, 70`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


if __name__ == "__main__":
    sys.exit(main())
