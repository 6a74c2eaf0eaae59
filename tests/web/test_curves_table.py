"""The table of a job's curves: a line for each step, whatever was told when."""

from __future__ import annotations

import csv
import io
from array import array

from hypothesis import given
from hypothesis import strategies as st

from app.web.pages.curves import _lines

_CURVES = st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.integers(0, 9), st.floats(-9, 9)))


@given(_CURVES)
def test_every_value_is_in_its_line(curves: dict[str, dict[int, float]]) -> None:
    given_ = {name: (array("q", sorted(v)), array("d", [v[s] for s in sorted(v)])) for name, v in curves.items()}
    head, *rows = csv.reader(io.StringIO("".join(_lines(given_))))
    assert head == ["step", *sorted(curves)]
    assert [int(row[0]) for row in rows] == sorted({step for curve in curves.values() for step in curve})
    for step, *values in rows:
        for name, value in zip(head[1:], values, strict=True):
            assert (float(value) if value else None) == curves[name].get(int(step))
