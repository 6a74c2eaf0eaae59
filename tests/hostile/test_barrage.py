"""A slice of `make hostile`: the same seeds every time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.hostile.barrage import calls, pages
from tests.hostile.site import running


@pytest.mark.slow
@pytest.mark.parametrize("part", [calls, pages])
def test_generated_requests_meet_no_error_of_ours(part: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert callable(part)
    # In a thread of its own: a browser of other tests leaves this one with a stack that confuses the parser.
    with running(tmp_path_factory.mktemp("barrage")) as site, ThreadPoolExecutor(1) as pool:
        tally = pool.submit(part, site, 1, 10).result()
    assert not tally.findings, "\n\n".join(tally.findings.values())
    assert tally.requests > 150
    assert {200, 404, 422} <= tally.statuses.keys()
