"""The Workers page in a real browser, on a wide screen and on a phone's width."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from app.core.context import Context
from tests.browser.test_queue import served
from tests.web import seeding
from tests.web.test_workers import hello

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize("width", [1440, 390])
def test_a_worker_is_drained_and_resumed_by_its_buttons(ctx: Context, browser: Browser, width: int) -> None:
    with ctx.db.session(write=True) as session:
        hello(session, "box-gpu0", labels=["lab"], cores=16, memory_total=64_000_000_000, engines=["hf", "unsloth"])
        hello(session, "box-gpu1", versions={"transformers": "5.17.0"}, engines=["hf"])
        seeding.training(session, ctx, seeding.dataset(session, ctx))
    with served(ctx) as address:
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto(f"{address}/workers")
        row = page.get_by_role("row").filter(has_text="box-gpu1")
        expect(page.get_by_text("RTX 3090, 25.8 GB")).to_have_count(2)
        expect(page.get_by_text("labels: lab")).to_be_visible()
        row.get_by_role("button", name="Drain").click()
        expect(page.get_by_text("is being drained")).to_be_visible()
        expect(row.get_by_text("Drained: it takes no job.")).to_be_visible()
        inside = page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert inside, "nothing sticks out at the side"
        row.get_by_role("button", name="Resume").click()
        expect(page.get_by_text("takes jobs again.").first).to_be_visible()
        expect(row.get_by_role("button", name="Drain")).to_be_visible()
        page.close()
