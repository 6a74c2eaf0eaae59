"""`python -m tests.chaos RUNS SEED`: batches of ten seeds, even ones on SQLite and odd ones on Postgres.

A batch that is done is kept in `.cache/chaos.json` and not run again; `docs/durability.md` is written after each.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.chaos.drive import is_real, run
from tests.chaos.faults import FAULTS

_ROOT = Path(__file__).parents[2]
_KEPT = _ROOT / ".cache" / "chaos.json"
_PAGE = _ROOT / "docs" / "durability.md"
_HEAD = (Path(__file__).parent / "durability.head.md").read_text()


def _batch(seeds: list[int]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="tunedeck-chaos-", ignore_cleanup_errors=True) as folder:
        batch = run(Path(folder), seeds)
        if batch.findings():
            _keep_logs(Path(folder), seeds[0])
    return {
        "database": "Postgres" if seeds[0] % 2 else "SQLite",
        "trainer": "real" if is_real(seeds[0]) else "scripted",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "runs": len(batch.trials),
        "faults": batch.faults(),
        "latest": round(batch.latest, 2),
        "findings": batch.findings(),
    }


def _keep_logs(folder: Path, seed: int) -> None:
    """What each process said, to find out why."""
    kept = _KEPT.parent / f"chaos-{seed}"
    kept.mkdir(parents=True, exist_ok=True)
    for file in folder.rglob("*.log"):
        shutil.copy(file, kept / file.name)


def _kept() -> dict[str, Any]:
    return json.loads(_KEPT.read_text()) if _KEPT.exists() else {}


def _page(kept: dict[str, Any]) -> str:
    names = ["seeds", "date", "database", "trainer", "runs", *FAULTS, "outlived", "findings"]
    rows = [names, ["---"] * len(names)]
    for seeds, batch in kept.items():
        counts = [str(batch["faults"].get(fault, 0)) for fault in FAULTS]
        first = [seeds, batch["date"], batch["database"], batch["trainer"], str(batch["runs"])]
        rows.append([*first, *counts, f"{batch['latest']} s", "; ".join(batch["findings"]) or "none"])
    total: Counter[str] = sum((Counter(batch["faults"]) for batch in kept.values()), Counter())
    found = str(sum(len(batch["findings"]) for batch in kept.values()))
    runs = str(sum(batch["runs"] for batch in kept.values()))
    latest = max(batch["latest"] for batch in kept.values())
    rows.append(["all", "", "", "", runs, *(str(total[fault]) for fault in FAULTS), f"{latest} s", found])
    return _HEAD + "\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main(runs: int, seed: int) -> int:
    """Every batch that was not run before; 1 when something was found."""
    kept = _kept()
    for start in range(seed, seed + runs, 20):
        for first in (start, start + 1):
            seeds = list(range(first, min(start + 20, seed + runs), 2))
            name = f"{seeds[0]}, {seeds[0] + 2} … {seeds[-1]}" if seeds else ""
            if seeds and name not in kept:
                batch = _batch(seeds)
                kept = _kept() | {name: batch}  # another run may go on beside this one
                _KEPT.parent.mkdir(exist_ok=True)
                _KEPT.write_text(json.dumps(kept, indent=1))
                _PAGE.write_text(_page(kept))
                print(name, kept[name]["findings"] or "sound", flush=True)
    return int(any(batch["findings"] for batch in kept.values()))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
