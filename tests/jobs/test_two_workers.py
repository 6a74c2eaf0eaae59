from __future__ import annotations

import pytest

from app.core.context import Context
from tests.jobs.queued import fill, in_order, work


@pytest.mark.slow
def test_two_workers_run_each_queued_job_once_the_most_urgent_first(any_ctx: Context) -> None:
    fill(any_ctx, 16)
    found = work(any_ctx, any_ctx.settings.database_url)
    assert in_order(found, 16), found
    assert {claim[3] for claim in found.claims} <= {"w0", "w1"}
