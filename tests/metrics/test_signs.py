"""What the curves warn of: shapes as trainings have them."""

from __future__ import annotations

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from app.domain.metrics.signs import Points, signs

STEPS = list(range(1, 201))


def curve(shape: str) -> Points:
    """A loss with noise, over two hundred steps."""
    dice = random.Random(1)
    made = {
        "falls": lambda n: 1 + 2 * math.exp(-n / 50),
        "stands": lambda _: 2.0,
        "turns": lambda n: 1 + 2 * math.exp(-n / 20) + max(0, n - 80) * 0.01,
    }[shape]
    return STEPS, [made(n) + dice.gauss(0, 0.05) for n in STEPS]


def codes(loss: Points, validation: list[float] | None = None, norms: list[float] | None = None) -> list[str]:
    """With plenty of rows."""
    curves: dict[str, Points] = {"loss": loss}
    if validation is not None:
        curves["eval_loss"] = list(range(20, 20 * len(validation) + 1, 20)), validation
    if norms is not None:
        curves["grad_norm"] = STEPS, norms
    return [sign.code for sign in signs(curves, rows=10_000, epochs=3)]


def test_a_healthy_run_is_left_alone() -> None:
    assert codes(curve("falls"), [3.0, 2.0, 1.6, 1.4, 1.41, 1.40], [1.0] * 200) == []
    assert codes((STEPS[:10], [2.0] * 10)) == []
    assert codes((STEPS, [10.8 - 0.001 * n for n in STEPS])) == []  # slowly, but without doubt


def test_what_goes_wrong_is_told() -> None:
    assert codes(curve("stands")) == ["flat"]
    assert codes(curve("turns")) == ["diverging"]
    assert codes(curve("falls"), [3.0, 2.0, 1.6, 1.4, 1.5, 1.6, 1.7]) == ["overfitting"]
    assert codes(curve("falls"), [3.0, 1.4, 1.5]) == []  # once is chance
    assert codes(curve("falls"), None, [1.0] * 180 + [9.0] * 20) == ["jumpy"]


def test_the_sentence_gets_its_figures() -> None:
    validation = [20, 40, 60, 80, 100], [3.0, 2.0, 1.5, 1.6, 1.65]
    (found,) = signs({"loss": curve("falls"), "eval_loss": validation}, rows=10_000, epochs=3)
    assert (found.code, found.step, round(found.value, 2)) == ("overfitting", 60, 0.10)


def test_few_rows_are_told_from_the_start() -> None:
    assert [sign.code for sign in signs({}, rows=40, epochs=5)] == ["few_rows"]
    assert signs({}, rows=40, epochs=3) == signs({}, rows=5000, epochs=9) == signs({}, rows=0, epochs=99) == []


@given(st.lists(st.floats(-10, 1e6), max_size=300), st.lists(st.floats(-10, 1e6), max_size=30))
def test_any_curve_is_read(loss: list[float], validation: list[float]) -> None:
    curves = {name: (list(range(1, len(v) + 1)), v) for name, v in (("loss", loss), ("eval_loss", validation))}
    found = signs(curves | {"grad_norm": curves["loss"]}, rows=10, epochs=1.5)
    assert all(math.isfinite(sign.value) for sign in found)
    assert all(sign.step in {0, *curves["loss"][0], *curves["eval_loss"][0]} for sign in found)
    assert found == signs(curves | {"grad_norm": curves["loss"]}, rows=10, epochs=1.5)
