"""By clicking only: upload, look, launch, watch, compare, export, take away. Nothing on the way is a stand-in."""

from __future__ import annotations

import json
import re
from pathlib import Path

import gguf
import pytest
from playwright.sync_api import Page, expect

from tests.dashboard import Dashboard
from tests.tiny_model import tiny_rows

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]
MINUTES = 60_000


def write_rows(path: Path, seed: int = 0) -> Path:
    """Forty good rows, and on line 7 one that is no JSON."""
    lines = [json.dumps(row) for row in tiny_rows(40, seed=seed)]
    lines.insert(6, '{"messages": [')
    path.write_text("\n".join(lines) + "\n")
    return path


def watch_for_errors(page: Page) -> list[str]:
    """What the page complains about, and every request that leaves this machine."""
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.on(
        "request",
        lambda request: (
            None if "//127.0.0.1" in request.url or request.url.startswith("data:") else complaints.append(request.url)
        ),
    )
    return complaints


def upload(page: Page, dashboard: Dashboard, file: Path) -> None:
    page.goto(dashboard.address)
    page.get_by_role("link", name="Data sets").first.click()
    page.get_by_role("link", name=re.compile("Upload")).first.click()
    page.get_by_label(re.compile("Choose a file")).set_input_files(file)
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page).to_have_url(re.compile(r"/datasets/\d+"), timeout=20_000)


def launch(page: Page, model: Path, name: str = "Word repeater") -> None:
    page.get_by_role("link", name="Fine-tune on this").click()
    page.get_by_label("Base model", exact=True).fill(str(model))
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label(re.compile("^Learning rate")).fill("1e-2")
    page.get_by_label("Question 1").fill("Say red then blue.")
    page.get_by_text("Advanced", exact=True).click()
    page.get_by_label(re.compile("^Steps at most")).fill("12")
    page.get_by_label(re.compile("^Longest answer")).fill("12")
    page.get_by_role("button", name="Start training").click()
    expect(page).to_have_url(re.compile(r"/jobs/\d+$"), timeout=20_000)


def test_from_a_file_to_a_proved_gguf(page: Page, dashboard: Dashboard, small_llama: Path, tmp_path: Path) -> None:
    complaints = watch_for_errors(page)

    upload(page, dashboard, write_rows(tmp_path / "words.jsonl"))
    expect(page.get_by_text("1 line could not be used", exact=True)).to_be_visible(timeout=2 * MINUTES)
    expect(page.locator("#problems")).to_contain_text("7")
    expect(page.locator("#problems")).to_contain_text("not valid JSON")
    page.get_by_role("button", name=re.compile("Go on with the 40 good rows")).click()
    expect(page.locator("#rows")).to_contain_text("You repeat words.")

    launch(page, small_llama)
    job = page.url
    expect(page.locator("h1")).to_have_text("Word repeater")
    second = page.context.new_page()
    second.goto(job)
    page.bring_to_front()  # a hidden tab closes its stream
    expect(page.locator("#log")).to_contain_text("rows to train on", timeout=3 * MINUTES)
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.reload()
    expect(page.get_by_role("link", name="Open the model")).to_be_visible(timeout=4 * MINUTES)
    second.bring_to_front()
    expect(second.get_by_role("link", name="Open the model")).to_be_visible(timeout=20_000)
    second.close()
    page.bring_to_front()

    answers = page.locator("#answers")
    expect(answers).to_contain_text("Say red then blue.")
    expect(answers).to_contain_text("Before")
    expect(answers).to_contain_text("After")
    expect(page.locator("canvas").first).to_be_visible()

    exports = page.locator("#exports")
    row = exports.locator("li", has_text="GGUF q4_k_m")
    row.get_by_role("button", name="Make").click()
    made = exports.locator("li", has_text="word-repeater-Q4_K_M.gguf").first
    link = made.locator("a[href^='/artifacts/']").first
    expect(link).to_be_visible(timeout=4 * MINUTES)
    with page.expect_download() as download:
        link.click()
    file = tmp_path / "taken.gguf"
    download.value.save_as(file)
    assert gguf.GGUFReader(file).fields["general.architecture"].contents() == "llama"
    page.get_by_role("link", name="Open the model").click()
    expect(page.get_by_text("ollama", exact=False).first).to_be_visible()
    assert complaints == []


def test_a_running_job_is_cancelled_and_deleted_by_clicks(
    page: Page, dashboard: Dashboard, small_llama: Path, tmp_path: Path
) -> None:
    upload(page, dashboard, write_rows(tmp_path / "words.jsonl", seed=1))
    page.get_by_role("button", name=re.compile("Go on with")).click(timeout=2 * MINUTES)
    launch(page, small_llama, "Never mind")
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.get_by_text("Cancelled").first).to_be_visible(timeout=2 * MINUTES)
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete the job").click()
    expect(page).to_have_url(re.compile(r"/jobs$"))
    expect(page.get_by_role("link", name="Never mind")).to_have_count(0)
