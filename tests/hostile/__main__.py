"""`make hostile`: generated requests against a running server, until there are RUNS; docs/hostile.md keeps the table.

    python -m tests.hostile [RUNS] [SEED]

Each seed is a lap on a fresh data folder: the calls, the forms and pages, by one visitor after the other, on SQLite
and on Postgres in turn. What is done stands in .cache/hostile.json, so an interrupted run goes on where it was.
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
from tests.hostile.barrage import Tally
from tests.hostile.lap import lap
from tests.hostile.visitors import VISITORS, Visitor

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".cache" / "hostile.json"
PAPER, HEAD = ROOT / "docs" / "hostile.md", Path(__file__).with_name("hostile.head.md")
#: Told by themselves; the others of 4xx are together.
_TOLD = ("401", "403", "404", "409", "413", "422", "429")


def visitor_of(number: int) -> Visitor:
    """Each has two seeds in a row: an even one on SQLite, an odd one on Postgres."""
    return VISITORS[number // 2 % len(VISITORS)]


def run(number: int) -> Tally:
    """One seed."""
    postgres = services.postgres_url() if number % 2 else None
    url = services.fresh_schema(postgres) if postgres else ""
    with tempfile.TemporaryDirectory(prefix="tunedeck-hostile-") as folder:
        return lap(Path(folder), number, visitor_of(number), database_url=url)


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
    start, tally = time.monotonic(), run(number)
    for where, what in tally.findings.items():
        print(f"seed {number}: {where}\n{what}\n", flush=True)
    print(
        f"seed {number}, {visitor_of(number).label}: {tally.requests} requests, {time.monotonic() - start:.0f} s",
        flush=True,
    )
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "visitor": visitor_of(number).label,
        "requests": tally.requests,
        "statuses": {str(status): count for status, count in sorted(tally.statuses.items())},
        "findings": sorted(tally.findings),
    }


def write(laps: dict[str, dict[str, object]]) -> None:
    """The paper: its head, then one line for each day and kind of visitor."""
    heads = ["date", "who asks", "seeds", "requests", "2xx", "3xx", *_TOLD, "other 4xx", "5xx", "findings"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    labels = list(dict.fromkeys(visitor.label for visitor in VISITORS))
    kinds = {(str(each["date"]), str(each["visitor"])) for each in laps.values()}
    for day, label in sorted(kinds, key=lambda kind: (kind[0], labels.index(kind[1]))):
        mine = {int(no): each for no, each in laps.items() if (each["date"], each["visitor"]) == (day, label)}
        lines.append(_line(day, label, mine))
    lines.append(_line("all", "", {int(number): each for number, each in laps.items()}))
    PAPER.write_text(HEAD.read_text(encoding="utf-8") + "\n".join(lines) + "\n", encoding="utf-8")


def _line(day: str, label: str, mine: dict[int, dict[str, object]]) -> str:
    counts: Counter[str] = Counter()
    for each in mine.values():
        statuses = each["statuses"]
        assert isinstance(statuses, dict)
        for status, count in statuses.items():
            counts[status if status in _TOLD else status[0]] += count
    found = sum(len(list(each["findings"])) for each in mine.values() if isinstance(each["findings"], list))
    numbers = [counts.total(), *(counts[kind] for kind in ("2", "3", *_TOLD, "4", "5")), found]
    return f"| {day} | {label} | {_ranges(sorted(mine))} | {' | '.join(f'{each:,}' for each in numbers)} |"


def _ranges(numbers: list[int]) -> str:
    """`1–3, 7` of 1, 2, 3, 7."""
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in zip(starts, ends, strict=True))


if __name__ == "__main__":
    sys.exit(main())
