"""Which rows are held out. Pure, and the same for the audit, the questions and the training."""

from __future__ import annotations

import random


def validation_count(rows: int, fraction: float) -> int:
    """How many of `rows` are held out: rounded, at least one when a fraction is asked for, at least one row stays."""
    if fraction <= 0 or rows < 2:
        return 0
    return min(max(1, round(rows * fraction)), rows - 1)


def validation_rows(rows: int, fraction: float, seed: int) -> frozenset[int]:
    """0-based numbers of the held-out rows, drawn without replacement by `seed`."""
    return frozenset(random.Random(seed).sample(range(rows), validation_count(rows, fraction)))  # noqa: S311
