"""Which rows are held out. Pure, and the same for the audit, the questions and the training."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

#: The form's own: a tenth, by the usual seed.
FRACTION, SEED = 0.1, 3407


class Split(BaseModel):
    """How rows are held out: a fraction drawn by a seed, or the rows of another data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fraction: float = FRACTION
    seed: int = SEED
    #: Number of the data set whose rows are held out; 0: a fraction of the same one.
    dataset_id: int = 0
    #: As the rows say themselves.
    by_file: bool = False


def validation_count(rows: int, fraction: float) -> int:
    """How many of `rows` are held out: rounded, at least one when a fraction is asked for, at least one row stays."""
    if fraction <= 0 or rows < 2:
        return 0
    return min(max(1, round(rows * fraction)), rows - 1)


def validation_rows(rows: int, fraction: float, seed: int) -> frozenset[int]:
    """0-based numbers of the held-out rows, drawn without replacement by `seed`."""
    return frozenset(random.Random(seed).sample(range(rows), validation_count(rows, fraction)))  # noqa: S311


def without_copies(held_out: frozenset[int], keys: Sequence[int], seed: int) -> frozenset[int]:
    """`held_out` so that no row of it has a copy among the others; `keys[k]` is the same for copies of row k.

    Held-out rows with a copy among the rows to train on go to those, and others that stand alone, drawn by `seed`, take
    their places. There may be fewer then: a set that is all copies has nothing to hold out.
    """
    trained = {key for number, key in enumerate(keys) if number not in held_out}
    kept = {number for number in held_out if keys[number] not in trained}
    missing = len(held_out) - len(kept)
    if missing:
        counts: dict[int, int] = {}
        for key in keys:
            counts[key] = counts.get(key, 0) + 1
        alone = [number for number, key in enumerate(keys) if counts[key] == 1 and number not in held_out]
        kept |= set(random.Random(seed).sample(alone, min(missing, len(alone))))  # noqa: S311
    return frozenset(kept)
