"""The results as a table in Markdown; what was not run is said to be."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.gpu.cells import ALL, Cell

GIB = 2**30
Result = dict[str, Any]


def table(results: list[Result]) -> str:
    """One line a cell: both engines' medians over the pairs, and their ratios."""
    head = (
        "| model | loaded as | sequence | rows | activations | plain tokens/s | Unsloth tokens/s | speed "
        "| plain GiB | Unsloth GiB | memory | first step plain / Unsloth | timed runs |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    return "\n".join([head, *(_line(cell, results) for cell in ALL)])


def _line(cell: Cell, results: list[Result]) -> str:
    loaded = {"none": "bfloat16", "4bit": "4-bit"}[cell.load_in]
    again = {"on": "twice", "off": "once"}[cell.checkpointing]
    front = f"| {cell.model} | {loaded} | {cell.length} | {cell.rows} | {again} |"
    plain, unsloth = (_of(cell, engine, results) for engine in ("hf", "unsloth"))
    if not plain and not unsloth:
        return front + " not run | | | | | | | |"
    return front + _numbers(plain, unsloth)


def _numbers(plain: list[Result], unsloth: list[Result]) -> str:
    speed = [_median(runs, "tokens_per_second") for runs in (plain, unsloth)]
    memory = [_median(runs, "peak_allocated") / GIB for runs in (plain, unsloth)]
    first = [_median(runs, "first_step_seconds") for runs in (plain, unsloth)]
    pairs = " / ".join(str(sum(run["timed"] for run in runs)) for runs in (plain, unsloth))
    cells = [
        *(f"{value:,.0f}" if value else "not run" for value in speed),
        _ratio(speed),
        *(f"{value:.2f}" if value else "not run" for value in memory),
        _ratio(memory),
        " / ".join(f"{value:.0f} s" if value else "–" for value in first),
        pairs,
    ]
    return " " + " | ".join(cells) + " |"


def _ratio(pair: list[float]) -> str:
    return f"{pair[1] / pair[0]:.2f}×" if pair[0] and pair[1] else "–"


def _of(cell: Cell, engine: str, results: list[Result]) -> list[Result]:
    return [
        result
        for result in results
        if (result["cell"], result["engine"]) == (cell.name, engine) and "failed" not in result
    ]


def _median(runs: list[Result], name: str) -> float:
    """Times count only where the machine was not shared; memory counts always."""
    found = [run[name] for run in runs if name in run and (name == "peak_allocated" or run["timed"])]
    return statistics.median(found) if found else 0.0


def bare_ratio(results: list[Result]) -> str:
    """The trainer's speed over the bare script's, pair by pair."""
    pairs = [
        (ours["tokens_per_second"], bare["tokens_per_second"])
        for ours in results
        for bare in results
        if ours["engine"] == "ours" and bare["engine"] == "bare" and ours["pair"] == bare["pair"]
        and ours["cell"] == bare["cell"] and "tokens_per_second" in ours and "tokens_per_second" in bare
    ]  # fmt: skip
    if not pairs:
        return "The trainer against a bare script: not run."
    ratios = sorted(ours / bare for ours, bare in pairs)
    return (
        f"The trainer against a bare script with the same calls: median {statistics.median(ratios):.3f}× over "
        f"{len(ratios)} pairs ({ratios[0]:.3f} to {ratios[-1]:.3f})."
    )
