"""`python -m benchmarks.gpu [core | bare | table] [--only CELL …]`: run what is missing, print the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.gpu.cells import ALL, BUSY, CORE, ENGINES, Cell, job_folder
from benchmarks.gpu.field import Runner, run_field
from benchmarks.gpu.runs import ROOT, measured
from benchmarks.gpu.table import bare_ratio, table

_PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "unsloth", "unsloth_zoo", "triton")
#: Of the trainer and the bare script; the fewest that say something.
_BARE_PAIRS = 5


class Results:
    """The results file: a list of runs, and what they ran on."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.data: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"runs": [], "machine": {}}

    @property
    def runs(self) -> list[dict[str, Any]]:
        """Each with cell, engine, pair, and its numbers."""
        return list(self.data["runs"])

    def has(self, cell: str, engine: str, pair: int) -> bool:
        """Whether this run was made and did not fail."""
        return any(
            (run["cell"], run["engine"], run["pair"]) == (cell, engine, pair) and "failed" not in run
            for run in self.data["runs"]
        )

    def add(self, run: dict[str, Any]) -> None:
        """Keep it, at once."""
        self.data["runs"].append(run)
        self.data["machine"] = machine()
        self._file.write_text(json.dumps(self.data, indent=1))


def machine() -> dict[str, str]:
    """Card and versions."""
    found = {"date": time.strftime("%Y-%m-%d"), "python": platform.python_version(), "card": _card()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "–"
    return found


def _card() -> str:
    try:
        command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "no GPU"


def model_folder(name: str, work: Path) -> Path:
    """The model's folder below `work`; a random one is made when it is not there. SmolLM2 has to be."""
    folder = work / name
    if not folder.exists():
        if name == "smol":
            raise SystemExit(f"Put SmolLM2-135M-Instruct (safetensors) into {folder} first.")
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "benchmarks.gpu.models", name, str(folder), str(work / "smol")]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": paths})
    return folder


@dataclass(frozen=True)
class Planned:
    """One run to make: `label` is the engine in the table, or which side of the pair it is."""

    cell: Cell
    engine: str
    label: str
    pair: int
    module: str = "worker.trainer"


def one(run: Planned, work: Path, results: Results, *, timed: bool) -> None:
    """Make the run, unless the results have it already."""
    if results.has(run.cell.name, run.label, run.pair):
        return
    model = model_folder(run.cell.model, work)
    folder = job_folder(work / f"run-{time.time_ns()}", run.cell, run.engine, model)
    numbers = measured(folder, run.cell.warm_up, run.module)
    found = {"cell": run.cell.name, "engine": run.label, "pair": run.pair, "timed": timed, **numbers}
    results.add(found)
    print(json.dumps({name: value for name, value in found.items() if name != "speeds"}), flush=True)
    shutil.rmtree(folder, ignore_errors=True)


def together(plans: list[Planned], work: Path, results: Results, after: Path | None) -> None:
    """Make these runs as one field: loaded side by side, timed one after the other."""
    runners = []
    for n, run in enumerate(plans):
        model = model_folder(run.cell.model, work)
        folder = job_folder(work / f"run-{time.time_ns()}-{n}", run.cell, run.engine, model)
        runners.append(Runner(run.cell, run.label, run.pair, folder, run.module, brief=run.label not in ENGINES))

    def done(runner: Runner, numbers: dict[str, Any]) -> None:
        front = {"cell": runner.cell.name, "engine": runner.label, "pair": runner.pair, "timed": True, "field": True}
        results.add(front | numbers)
        print(json.dumps(front | {k: v for k, v in numbers.items() if k not in ("speeds", "losses")}), flush=True)
        shutil.rmtree(runner.folder, ignore_errors=True)

    run_field(runners, done, after)


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("core", "all", "bare", "table"), default="core")
    parser.add_argument("--only", nargs="*", default=[], help="names of cells: " + ", ".join(c.name for c in ALL))
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("/tmp/tunedeck-gpu"))  # noqa: S108 - scratch, by default
    parser.add_argument("--results", "--append", type=Path, default=Path("gpu-results.json"))
    parser.add_argument("--shared", action="store_true", help="other work runs on the GPU too: only memory counts")
    parser.add_argument("--field", type=int, default=0, help="load so many runs side by side, and time each alone")
    parser.add_argument("--after", type=Path, help="with --field: a file that must be there before anything is timed")
    parser.add_argument("--seconds", type=float, default=1e9, help="start no run after this many seconds")
    wish = parser.parse_args()
    results = Results(wish.results)
    began = time.monotonic()
    wish.work.mkdir(parents=True, exist_ok=True)
    missing = [run for run in _plan(wish) if not results.has(run.cell.name, run.label, run.pair)]
    while wish.field and missing and time.monotonic() - began < wish.seconds:
        together(missing[: wish.field], wish.work, results, wish.after)
        missing = missing[wish.field :]
    for run in missing:
        if time.monotonic() - began < wish.seconds:
            one(run, wish.work, results, timed=not wish.shared)
    print("\n" + " · ".join(f"{name} {value}" for name, value in results.data["machine"].items()))
    print(table(results.runs))
    print(bare_ratio(results.runs))
    return 0


def _plan(wish: argparse.Namespace) -> list[Planned]:
    """Engines in turn within a pair, pairs one after the other."""
    sides = [(engine, engine, "worker.trainer") for engine in ENGINES]
    groups: dict[str, tuple[Cell, ...]] = {"core": CORE, "all": ALL, "bare": (), "table": ()}
    cells = [cell for cell in ALL if cell.name in wish.only] or groups[wish.what]
    plans = [Planned(c, e, label, p, m) for p in range(wish.pairs) for c in cells for e, label, m in sides]
    if wish.what == "bare":
        pairs = (("ours", "worker.trainer"), ("bare", "benchmarks.gpu.bare"))
        plans += [Planned(BUSY, "unsloth", label, p, m) for p in range(_BARE_PAIRS) for label, m in pairs]
    return plans


if __name__ == "__main__":
    sys.exit(main())
