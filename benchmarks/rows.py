"""Looking at rows of a large set: a page, the last page, searches, against reading the whole file with `json`."""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from app.domain.datasets import row_file
from app.domain.datasets.row_search import find
from benchmarks.intake import messages

ROWS = int(os.environ.get("ROWS", "100000"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
PAGE = 25


def _write(path: Path) -> None:
    rng = random.Random(3407)
    with path.open("w", encoding="utf-8") as out:
        for number in range(ROWS):
            row = messages(rng)
            if number == ROWS * 9 // 10:
                row["messages"][-1]["content"] += " Xylophone."
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def _whole(path: Path, text: str) -> int:
    """What a page without an index does: every row is parsed and looked at."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return sum(any(text in turn["content"].lower() for turn in row["messages"]) for row in rows)


def _best(act: Callable[[], object]) -> float:
    """CPU seconds."""
    found = []
    for _ in range(ROUNDS):
        before = time.process_time()
        act()
        found.append(time.process_time() - before)
    return min(found)


def _cold_last(path: Path) -> object:
    os.utime(path)  # as if it were another file
    return row_file.some_lines(path, ROWS - PAGE, PAGE)


def main() -> None:
    """Each with its share of the time that the whole file takes."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "rows.jsonl"
        _write(path)
        print(f"{ROWS} rows, {path.stat().st_size / 1e6:.0f} MB, best of {ROUNDS}, CPU time")
        whole = _best(lambda: _whole(path, "xylophone"))
        print(f"{'the whole file with json':40}{whole * 1000:>9.1f} ms")
        cases: dict[str, Callable[[], object]] = {
            "first page": lambda: row_file.some_lines(path, 0, PAGE),
            "last page, nothing counted yet": lambda: _cold_last(path),
            "last page again": lambda: row_file.some_lines(path, ROWS - PAGE, PAGE),
            "search, a word in one row": lambda: find(path, "xylophone", 0, PAGE),
            "search, a word in no row": lambda: find(path, "zeppelin", 0, PAGE),
            "search, a word in every row": lambda: find(path, "MODEL", 0, PAGE),
            "search, an umlaut in no row": lambda: find(path, "ZÜGE", 0, PAGE),
        }
        for case, act in cases.items():
            seconds = _best(act)
            print(f"{case:40}{seconds * 1000:>9.1f} ms{seconds / whole:>9.4f}×")
