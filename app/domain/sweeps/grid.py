"""A grid over settings: each combination a checked `TrainConfig` with a name. Pure: no table, no database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from app.domain.errors import InvalidError
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.launch import checked_config

#: Settings that can be tried in several values -> how a run's name calls them.
SWEPT = {
    "learning_rate": "lr",
    "lora_r": "r",
    "lora_alpha": "alpha",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch",
    "gradient_accumulation_steps": "accumulation",
    "seed": "seed",
    "lora_dropout": "dropout",
    "weight_decay": "decay",
    "lr_scheduler_type": "schedule",
    "warmup_steps": "warm-up",
    "max_steps": "steps",
    "max_seq_length": "length",
}
MOST_FIELDS, MOST_RUNS = 3, 24
_LONGEST_NAME = 200

Grid = Mapping[str, Sequence[Any]]


def check_shape(grid: Grid) -> None:
    """Raises `InvalidError` when it is no grid, or too large a one; `errors` name each field that is wrong."""
    errors: dict[str, str] = {}
    for name, values in grid.items():
        if name not in SWEPT:
            errors[name] = f"This can't be tried in several values. What can: {', '.join(SWEPT)}."
        elif not values:
            errors[name] = "Give the values to try."
    if not errors and len(grid) > MOST_FIELDS:
        errors[list(grid)[MOST_FIELDS]] = f"Three settings at most are varied at once, not {len(grid)}."
    last = list(grid)[-1] if grid else "grid"
    if not errors and count(grid) > MOST_RUNS:
        errors[last] = f"These are {count(grid)} combinations; {MOST_RUNS} at most are tried. Take some values out."
    if not errors and count(grid) < 2:
        errors[last] = "Give two values at least, or start a single training."
    if errors:
        raise InvalidError("These values can't be tried.", errors=errors)


def count(grid: Grid) -> int:
    """How many trainings it makes."""
    total = 1 if grid else 0
    for values in grid.values():
        total *= len(_once(values))
    return total


def combinations(config: TrainConfig, grid: Grid, name: str) -> list[tuple[str, TrainConfig]]:
    """(name, settings) of each, the last field changing first.

    Raises `InvalidError` whose `errors` name each field that is wrong.
    """
    check_shape(grid)
    base = config.model_dump(mode="json")
    made: dict[TrainConfig, str] = {}
    for values in product(*(_once(values) for values in grid.values())):
        each = checked_config(base | dict(zip(grid, values, strict=True)))
        made.setdefault(each, run_name(name, each, list(grid)))
    if len(made) < 2:
        raise InvalidError("These values can't be tried.", errors={list(grid)[-1]: "All these values are the same."})
    return [(called, each) for each, called in made.items()]


def _once(values: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def run_name(name: str, config: TrainConfig, fields: Sequence[str]) -> str:
    """`NAME, lr 1e-4, r 16`; the name is cut where that grows too long."""
    rest = "".join(f", {SWEPT[field]} {short(getattr(config, field))}" for field in fields)
    return name.strip()[: _LONGEST_NAME - len(rest)] + rest


def short(value: object) -> str:
    """0.0001 as 1e-4."""
    if not isinstance(value, float) or value == 0 or 0.001 <= abs(value) < 1e6:
        return f"{value:g}" if isinstance(value, float) else str(value)
    digits, _, power = f"{value:.3e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"
