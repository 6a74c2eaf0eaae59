"""Runs beside each other in a real browser: ticked in a list that refreshes, drawn over each other, switched off."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from app.core.context import Context
from app.domain.jobs.models import Metric
from tests.browser.test_queue import served
from tests.web import seeding

pytestmark = [pytest.mark.browser, pytest.mark.slow]
_CHANGED = "document.body.dispatchEvent(new CustomEvent('changed', {bubbles: true}))"


@pytest.fixture
def address(ctx: Context) -> Iterator[str]:
    """Three runs that ended."""
    with ctx.db.session(write=True) as session:
        dataset = seeding.dataset(session, ctx)
        for name in ("alpha", "beta", "gamma"):
            job = seeding.training(session, ctx, dataset, name)
            seeding.run(session, job)
            seeding.finish(session, ctx, job)
            session.add_all(
                Metric(job_id=job.id or 0, attempt=1, name="eval_loss", step=step, value=2 / step) for step in (4, 8)
            )
    with served(ctx) as found:
        yield found


def test_ticked_runs_are_drawn_over_each_other(address: str, page: Page) -> None:
    page.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    broken: list[str] = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.goto(f"{address}/jobs")
    for name in ("alpha", "gamma"):
        page.get_by_role("checkbox", name=name).check()
    with page.expect_response(lambda answer: "/jobs?show=all" in answer.url):
        page.evaluate(_CHANGED)  # the list looks again; what is ticked stays ticked
    expect(page.get_by_role("checkbox", checked=True)).to_have_count(2)
    page.get_by_role("button", name="Compare").click()
    expect(page).to_have_url(re.compile(r"/compare\?jobs=\d+,\d+$"))
    expect(page.locator(".uplot")).to_have_count(2)
    validation = page.locator("[data-plot=eval_loss] .chart-plot")
    expect(validation).to_have_attribute("aria-label", re.compile(r"Last values: gamma: 0\.2500, alpha: 0\.2500"))
    colours = {line.evaluate("e => getComputedStyle(e).stroke") for line in page.locator("[data-line] line").all()}
    assert len(colours) == 2
    page.locator("[data-show]").first.uncheck()
    expect(validation).to_have_attribute("aria-label", re.compile(r"Last values: alpha: 0\.2500\."))
    assert broken == []
