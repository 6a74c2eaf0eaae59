"""A slice of `make hostile`: the same seeds every time, by those who differ most."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.hostile.lap import lap
from tests.hostile.visitors import LIMITED, ONE, Visitor


@pytest.mark.slow
@pytest.mark.parametrize("visitor", [ONE, LIMITED], ids=lambda visitor: visitor.label)
def test_generated_requests_meet_no_error_of_ours(visitor: Visitor, tmp_path: Path) -> None:
    # In a thread of its own: a browser of other tests leaves this one with a stack that confuses the parser.
    with ThreadPoolExecutor(1) as pool:
        tally = pool.submit(lap, tmp_path, 1, visitor, examples=4).result()
    assert not tally.findings, "\n\n".join(tally.findings.values())
    assert tally.requests > 300
    assert {200, 404, 422} <= tally.statuses.keys()
    assert (403 in tally.statuses) == visitor.accounts
    assert (429 in tally.statuses) == (visitor is LIMITED)
