"""Signs that a training goes wrong, read from its curves. Pure: curves in, findings out; the words are the page's."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

Code = Literal["flat", "overfitting", "diverging", "jumpy", "few_rows"]
Points = tuple[Sequence[int], Sequence[float]]

#: Points of the loss before anything is said of it.
_LEAST = 24
#: A loss that has lost less than this share of itself has not fallen.
_FALLEN = 0.02
#: A validation loss this share above its least has risen, when it did so at least so many times in a row.
_RISEN, _TIMES = 0.02, 2
#: Times its own lowest stretch, or the usual gradient: a rate that is too high.
_GROWN, _NORMS = 1.25, 6.0
#: Rows seen so many times are learned by heart; a small set sooner than a large one.
_BY_HEART = ((50, 4.0), (200, 6.0), (1000, 10.0))


@dataclass(frozen=True)
class Sign:
    """What was found, and since which step (0: from the start). `value`: a figure for the sentence."""

    code: Code
    step: int = 0
    value: float = 0.0


def signs(curves: Mapping[str, Points], *, rows: int, epochs: float) -> list[Sign]:
    """The gravest first. `rows`: to train on, 0 where that is not known; `epochs`: planned."""
    loss, validation = curves.get("loss", ((), ())), curves.get("eval_loss", ((), ()))
    found = [_diverging(loss), _overfitting(loss, validation), _jumpy(curves.get("grad_norm", ((), ())))]
    if not any(found):
        found.append(_flat(loss))
    return [sign for sign in (*found, _few_rows(rows, epochs)) if sign is not None]


def _parts(points: Points, count: int = 8) -> list[tuple[int, float]]:
    """(last step, mean) of each of `count` stretches."""
    steps, values = points
    edges = [len(values) * n // count for n in range(count + 1)]
    return [(steps[b - 1], fmean(values[a:b])) for a, b in itertools.pairwise(edges) if b > a]


def _diverging(loss: Points) -> Sign | None:
    """The loss was lower once, and has grown since."""
    if len(loss[1]) < _LEAST:
        return None
    parts = _parts(loss)
    least = min(range(len(parts)), key=lambda n: parts[n][1])
    grown = parts[-1][1] / parts[least][1] if parts[least][1] > 0 else 1.0
    return Sign("diverging", parts[least][0], grown) if grown >= _GROWN else None


def _overfitting(loss: Points, validation: Points) -> Sign | None:
    """Validation has risen since its best, evaluation after evaluation, while the training loss fell."""
    steps, values = validation
    if len(values) <= _TIMES:
        return None
    best = min(range(len(values)), key=values.__getitem__)
    later = values[best + 1 :]
    risen = values[-1] / values[best] - 1 if values[best] > 0 else 0.0
    if len(later) < _TIMES or risen < _RISEN or min(later[-_TIMES:]) <= values[best]:
        return None
    before = [value for step, value in zip(*loss, strict=True) if step <= steps[best]][-_LEAST:]
    after = loss[1][-_LEAST:]
    falls = bool(before and after) and fmean(after) < fmean(before)
    return Sign("overfitting", steps[best], risen) if falls else None


def _jumpy(norms: Points) -> Sign | None:
    """The gradients of late are many times the usual ones."""
    steps, values = norms
    if len(values) < _LEAST:
        return None
    late = len(values) // 8
    usual, now = median(values[:-late]), median(values[-late:])
    return Sign("jumpy", steps[-late], now / usual) if usual > 0 and now / usual >= _NORMS else None


def _flat(loss: Points) -> Sign | None:
    """The loss stands where it stood at the start."""
    if len(loss[1]) < _LEAST:
        return None
    parts = _parts(loss)
    return Sign("flat", 0, parts[0][1]) if parts[-1][1] > parts[0][1] * (1 - _FALLEN) else None


def _few_rows(rows: int, epochs: float) -> Sign | None:
    most = next((times for most_rows, times in _BY_HEART if rows < most_rows), None)
    return Sign("few_rows", rows, epochs) if rows and most is not None and epochs >= most else None
