"""`make hostile`: generated requests against a running server, until there are RUNS; docs/hostile.md keeps the table.

    python -m tests.hostile [RUNS] [SEED]

Each seed is a lap on a fresh data folder: the calls, the forms and pages, on SQLite and on Postgres in turn. What
is done stands in .cache/hostile.json, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from tests import services
from tests.hostile.barrage import Tally, calls, pages
from tests.hostile.site import running

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".cache" / "hostile.json"
PAPER, HEAD = ROOT / "docs" / "hostile.md", Path(__file__).with_name("hostile.head.md")
#: Of each route, in one lap.
EXAMPLES = 50


def lap(number: int) -> Tally:
    """One seed."""
    tally = Tally()
    postgres = services.postgres_url() if number % 2 else None
    url = services.fresh_schema(postgres) if postgres else ""
    with tempfile.TemporaryDirectory(prefix="tunedeck-hostile-") as folder, running(Path(folder), url) as site:
        for part in (calls, pages):
            tally.add(part(site, number, EXAMPLES))
        if site.process.poll() is not None or "Traceback" in site.log():
            tally.found("server", f"the log holds a traceback\n{site.log()[-3000:]}")
    return tally


def main() -> int:
    """Laps until there are enough requests."""
    runs, number = int(sys.argv[1]), int(sys.argv[2])
    laps: dict[str, dict[str, object]] = json.loads(STATE.read_text()) if STATE.exists() else {}
    while sum(int(str(each["requests"])) for each in laps.values()) < runs:
        if str(number) not in laps:
            laps[str(number)] = _told(number)
            STATE.parent.mkdir(exist_ok=True)
            STATE.write_text(json.dumps(laps))
            write(laps)
        number += 1
    write(laps)
    return 1 if any(each["findings"] for each in laps.values()) else 0


def _told(number: int) -> dict[str, object]:
    start, tally = time.monotonic(), lap(number)
    for where, what in tally.findings.items():
        print(f"seed {number}: {where}\n{what}\n", flush=True)
    print(f"seed {number}: {tally.requests} requests, {time.monotonic() - start:.0f} s", flush=True)
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "requests": tally.requests,
        "statuses": {str(status): count for status, count in sorted(tally.statuses.items())},
        "findings": sorted(tally.findings),
    }


def write(laps: dict[str, dict[str, object]]) -> None:
    """The paper: its head, then one line for each day."""
    lines = ["| date | seeds | requests | 2xx | 3xx | 4xx | 5xx | findings |", "|---|---|---|---|---|---|---|---|"]
    for day in sorted({str(each["date"]) for each in laps.values()}):
        mine = {int(number): each for number, each in laps.items() if each["date"] == day}
        lines.append(_line(day, mine))
    PAPER.write_text(HEAD.read_text(encoding="utf-8") + "\n".join(lines) + "\n", encoding="utf-8")


def _line(day: str, mine: dict[int, dict[str, object]]) -> str:
    classes: Counter[str] = Counter()
    for each in mine.values():
        statuses = each["statuses"]
        assert isinstance(statuses, dict)
        for status, count in statuses.items():
            classes[status[0]] += count
    total = sum(classes.values())
    found = sum(len(list(each["findings"])) for each in mine.values() if isinstance(each["findings"], list))
    shown = " | ".join(f"{classes[first]:,}" for first in "2345")
    return f"| {day} | {_ranges(sorted(mine))} | {total:,} | {shown} | {found} |"


def _ranges(numbers: list[int]) -> str:
    """`1–3, 7` of 1, 2, 3, 7."""
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in zip(starts, ends, strict=True))


if __name__ == "__main__":
    sys.exit(main())
