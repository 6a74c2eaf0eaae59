"""The queue in a real browser: dragged by mouse and by finger, moved by keyboard on a phone's width."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from app.core.context import Context
from tests.web import seeding

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@contextmanager
def served(ctx: Context) -> Iterator[str]:
    """The web process alone: nothing is claimed under our hands."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {"TUNEDECK_DATA_DIR": str(ctx.settings.root), "TUNEDECK_WEB__PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-P", "-m", "app.serve"], env=env)
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 90
        while not answers(address):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", timeout=2).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def waiting(ctx: Context) -> Iterator[str]:
    """Four jobs that wait, and where they are shown."""
    with ctx.db.session(write=True) as session:
        dataset = seeding.dataset(session, ctx)
        for name in ("alpha", "beta", "gamma", "delta"):
            seeding.training(session, ctx, dataset, name)
    with served(ctx) as address:
        yield address


def order(address: str) -> list[str]:
    (queue,) = [found for found in httpx.get(f"{address}/api/queues").json() if found["name"] == "gpu"]
    return [job["name"] for job in queue["waiting"]]


def items(page: Page) -> Locator:
    return page.locator("td-queue .name")


def place(page: Page, name: str) -> tuple[float, float]:
    """The middle of a job's handle."""
    box = page.locator("td-queue li", has_text=name).locator("[data-grip]").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_job_is_dragged_by_mouse_and_by_finger_and_moved_by_keys(waiting: str, browser: Browser) -> None:
    wide = browser.new_page(viewport={"width": 1440, "height": 900})
    wide.goto(f"{waiting}/jobs")
    x, y = place(wide, "delta")
    wide.mouse.move(x, y)
    wide.mouse.down()
    top = place(wide, "alpha")[1]
    wide.mouse.move(x, top + 5, steps=5)
    wide.mouse.move(x, top - 8, steps=5)
    wide.mouse.up()
    expect(items(wide)).to_have_text(["delta", "alpha", "beta", "gamma"])
    expect(wide.locator("td-queue li").first).to_contain_text("starts next")
    assert order(waiting) == ["delta", "alpha", "beta", "gamma"]
    wide.close()
    on_a_phone(waiting, browser)


def on_a_phone(waiting: str, browser: Browser) -> None:
    phone = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True).new_page()
    phone.goto(f"{waiting}/jobs")
    later = phone.get_by_role("button", name="Later delta")
    later.focus()
    phone.keyboard.press("Enter")
    expect(items(phone)).to_have_text(["alpha", "delta", "beta", "gamma"])
    expect(later).to_be_focused()
    phone.keyboard.press("Enter")
    expect(items(phone)).to_have_text(["alpha", "beta", "delta", "gamma"])
    (x, y), (_, top) = place(phone, "gamma"), place(phone, "alpha")
    touch = phone.context.new_cdp_session(phone)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 9):
        point = {"x": x, "y": y + (top - 20 - y) * step / 8}
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(items(phone)).to_have_text(["gamma", "alpha", "beta", "delta"])
    expect(phone.locator("td-queue li").first).to_contain_text("starts next")
    assert order(waiting) == ["gamma", "alpha", "beta", "delta"]
    phone.context.close()
