"""A large file before a real browser: a killed server, a page loaded again, two windows. It goes on where it was."""

from __future__ import annotations

import hashlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, Response, expect

from app.domain.datasets.models import Dataset
from tests.hostile.site import Site, running
from tests.web.seeding import lines, row

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
PART = 16 * 1024 * 1024
MINUTES = 60_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("site"), env={"TUNEDECK_WEB__MAX_UPLOAD_BYTES": str(10**9)}) as made:
        yield made


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """Sixty megabytes, of which no part is like another."""
    file = tmp_path / "big.jsonl"
    with file.open("wb") as out:
        out.write(lines(row(1)))
        while out.tell() < 60_000_000:
            out.write(b'{"text": "' + os.urandom(500_000).hex().encode() + b'"}\n')
    return file


class Heard:
    """How far the file was at each part that was taken."""

    def __init__(self, page: Page) -> None:
        self.offsets: list[int] = []
        page.on("response", self._note)

    def _note(self, answer: Response) -> None:
        if answer.request.method == "PATCH" and answer.ok:
            self.offsets.append(int(parse_qs(urlsplit(answer.url).query)["offset"][0]))


def slow(context: BrowserContext, page: Page, bytes_a_second: int) -> None:
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_a_second}
    context.new_cdp_session(page).send("Network.emulateNetworkConditions", limits)


def begin(page: Page, site: Site, file: Path) -> None:
    page.goto(f"{site.url}/datasets/new")
    page.set_input_files("input[type=file]", file)
    page.get_by_role("button", name="Upload", exact=True).click()


def await_part(page: Page) -> None:
    with page.expect_response(lambda answer: answer.request.method == "PATCH" and answer.ok, timeout=2 * MINUTES):
        pass


def stored_sha256(page: Page, site: Site) -> str:
    page.wait_for_url(re.compile(r"/datasets/\d+$"), timeout=2 * MINUTES)
    with site.ctx.db.session() as session:
        dataset = session.get_one(Dataset, int(page.url.rpartition("/")[2]))
        data = site.ctx.storage.path(dataset.source_key).read_bytes()
    assert hashlib.sha256(data).hexdigest() == dataset.sha256
    return dataset.sha256


def test_it_goes_on_after_a_killed_server_and_after_a_reload(
    page: Page, context: BrowserContext, site: Site, big: Path
) -> None:
    slow(context, page, 12_000_000)
    begin(page, site, big)
    await_part(page)
    heard = Heard(page)
    site.process.send_signal(signal.SIGKILL)
    site.process.wait()
    expect(page.locator("span[data-left]")).to_contain_text("Going on as soon as the server is back", timeout=MINUTES)
    site.start()
    await_part(page)
    assert heard.offsets[0] >= PART

    page.reload()
    left = page.locator("#unfinished")
    expect(left).to_contain_text("big.jsonl")
    heard.offsets.clear()
    begin(page, site, big)
    assert stored_sha256(page, site) == hashlib.sha256(big.read_bytes()).hexdigest()
    assert heard.offsets[0] >= 2 * PART
    assert page.goto(f"{site.url}/datasets/new")
    expect(left).to_have_count(0)


def test_two_windows_send_the_same_file_once(page: Page, context: BrowserContext, site: Site, big: Path) -> None:
    other = context.new_page()
    for each in (page, other):
        slow(context, each, 20_000_000)
    heard = [Heard(page), Heard(other)]
    begin(page, site, big)
    begin(other, site, big)
    whole = hashlib.sha256(big.read_bytes()).hexdigest()
    assert {stored_sha256(each, site) for each in (page, other)} == {whole}
    assert page.url == other.url
    taken = sorted(heard[0].offsets + heard[1].offsets)
    assert taken == sorted(set(taken))


def test_cancelling_leaves_nothing(page: Page, context: BrowserContext, site: Site, big: Path) -> None:
    slow(context, page, 12_000_000)
    begin(page, site, big)
    await_part(page)
    with page.expect_response(re.compile(r"/delete$")):
        page.get_by_role("button", name="Cancel upload").click()
    expect(page.get_by_role("button", name="Upload", exact=True)).to_be_visible()
    page.goto(f"{site.url}/datasets/new")
    expect(page.locator("#unfinished")).to_have_count(0)
    assert list(site.ctx.settings.files_dir.rglob("*.part")) == []
