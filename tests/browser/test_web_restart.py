"""The web process goes away in the middle of a run and comes back: an open page goes on, and misses nothing."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Error, Page, expect

from tests import services
from tests.chaos.world import SCRIPTED, World

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]
STEPS = 900
MINUTES = 60_000

#: Keeps the number of every event that the stream brings, and the mark of a page that was never loaded again.
LISTEN = """() => {
  window.heard = [];
  for (const name of ["metric", "checkpoint", "phase", "state", "log", "lost", "reset"])
    document.addEventListener(name, (event) => event.detail?.id && window.heard.push(Number(event.detail.id)));
}"""
#: The numbers so far come late: events overtake them.
SLOW = """const real = window.fetch;
window.fetch = async (...wish) => {
  const answer = await real(...wish);
  if (!String(wish[0]).includes("metrics.json")) return answer;
  const text = await answer.text();
  await new Promise((done) => setTimeout(done, 2000));
  return new Response(text, { status: answer.status });
};"""
POINTS = """() => document.querySelector("td-chart[data-series*=loss]")?.series.get("loss")[0] ?? []"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    services.needed(shutil.which("redis-server"), "Redis")
    made = World(tmp_path_factory.mktemp("world"), SCRIPTED, postgres=False)
    try:
        yield made
    finally:
        made.close()


def await_page(page: Page, world: World) -> None:
    for _ in range(600):
        with contextlib.suppress(Error):
            if page.request.get(f"{world.address}/healthz").ok:
                return
        page.wait_for_timeout(100)


def test_a_chart_whose_numbers_come_late_lacks_none(page: Page, world: World) -> None:
    job = world.enqueue(1, STEPS)[0]
    await_page(page, world)
    page.add_init_script(SLOW)
    page.goto(f"{world.address}/jobs/{job}")
    page.wait_for_function(f"() => ({POINTS})().length > 100", timeout=3 * MINUTES)
    shown = page.evaluate(POINTS)
    assert shown == list(range(1, len(shown) + 1))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "restarted"])
def test_the_page_of_a_run_misses_nothing(page: Page, world: World, number: signal.Signals) -> None:
    job = world.enqueue(1, STEPS)[0]
    await_page(page, world)
    page.goto(f"{world.address}/jobs/{job}")
    page.evaluate(LISTEN)
    expect(page.locator("html")).to_have_attribute("data-stream", "open", timeout=2 * MINUTES)
    page.wait_for_function(f"() => ({POINTS})().length > 20", timeout=2 * MINUTES)

    world.signal_process("web", number)
    expect(page.locator("html")).to_have_attribute("data-stream", "lost", timeout=MINUTES)
    before = page.evaluate(POINTS)[-1]
    expect(page.locator("html")).to_have_attribute("data-stream", "open", timeout=2 * MINUTES)
    page.wait_for_function(f"() => ({POINTS})().at(-1) > {before} + 20", timeout=2 * MINUTES)

    shown = page.evaluate(POINTS)
    assert shown == list(range(1, len(shown) + 1))
    heard = page.evaluate("() => window.heard")
    assert heard == list(range(heard[0], heard[0] + len(heard))), "each once, in order, and the page was not reloaded"
    expect(page.get_by_text("Succeeded").first).to_be_visible(timeout=3 * MINUTES)
