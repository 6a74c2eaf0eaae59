"""A seeded part of `make fuzz`, in every run of the tests."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.fuzz.__main__ import lap


@pytest.mark.slow
def test_a_lap_of_generated_files_ends_in_rows_problems_or_words() -> None:
    ends: Counter[str] = lap(0, 600)
    assert ends["kept"] + ends["kept with problems"] > 100
    assert ends["refused"] > 10
