"""`python -m tests.chaos RUNS SEED`: batches of ten seeds, even ones on SQLite and odd ones on Postgres.

A batch that is done is kept in `.cache/chaos.json` and not run again; `docs/durability.md` is written after each.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests import services
from tests.chaos.drive import FAULTS, faults_of, run

_ROOT = Path(__file__).parents[2]
_KEPT = _ROOT / ".cache" / "chaos.json"
_PAGE = _ROOT / "docs" / "durability.md"
_HEAD = """# Durability: what was killed, and what came of it

Written by `make chaos`. A scripted trainer speaks the real protocol; workers, sweepers and databases are
real. The workers run the product's own code, no Celery, no Redis. Each job has one or two faults at moments
drawn from its seed; those that found the job at its end already are not counted. At rest, the shown curve holds every
step once with the right value, event numbers have no gap, no older attempt wrote after a newer one, each loss was
counted once, the job succeeded, and no process of it lives. The lease is two seconds; a lost job waits for nothing.
"""


def _batch(seeds: list[int]) -> dict[str, Any]:
    postgres = services.postgres_url() if seeds[0] % 2 else None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        trials = run(Path(folder), postgres, seeds)
    return {
        "database": "Postgres" if postgres else "SQLite",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "runs": len(trials),
        "faults": faults_of(trials),
        "findings": [f"seed {trial.seed}: {finding}" for trial in trials for finding in trial.findings],
    }


def _page(kept: dict[str, Any]) -> str:
    names = ["seeds", "date", "database", "runs", *FAULTS, "findings"]
    rows = [names, ["---"] * len(names)]
    for seeds, batch in kept.items():
        counts = [str(batch["faults"].get(fault, 0)) for fault in FAULTS]
        first = [seeds, batch["date"], batch["database"], str(batch["runs"])]
        rows.append([*first, *counts, "; ".join(batch["findings"]) or "none"])
    total: Counter[str] = sum((Counter(batch["faults"]) for batch in kept.values()), Counter())
    found = str(sum(len(batch["findings"]) for batch in kept.values()))
    runs = str(sum(batch["runs"] for batch in kept.values()))
    rows.append(["all", "", "", runs, *(str(total[fault]) for fault in FAULTS), found])
    return _HEAD + "\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main(runs: int, seed: int) -> None:
    """Every batch that was not run before."""
    kept = json.loads(_KEPT.read_text()) if _KEPT.exists() else {}
    for start in range(seed, seed + runs, 20):
        for first in (start, start + 1):
            seeds = list(range(first, min(start + 20, seed + runs), 2))
            name = f"{seeds[0]}, {seeds[0] + 2} … {seeds[-1]}" if seeds else ""
            if seeds and name not in kept:
                kept[name] = _batch(seeds)
                _KEPT.parent.mkdir(exist_ok=True)
                _KEPT.write_text(json.dumps(kept, indent=1))
                _PAGE.write_text(_page(kept))
                print(name, kept[name]["findings"] or "sound", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
