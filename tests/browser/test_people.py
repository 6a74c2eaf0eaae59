"""From the printed link to a second person who sees what is shared, in real browsers."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect

from app.core.context import Context
from app.core.settings import WebSettings
from app.domain.users import links
from app.main import create_app
from tests.browser.test_the_whole_way import watch_for_errors
from tests.services import _free_port
from tests.web import seeding

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PASSWORD = "four plain words here"


@contextmanager
def guarded(ctx: Context) -> Iterator[str]:
    """The web process with accounts, at its address."""
    settings = ctx.settings.model_copy(update={"web": WebSettings(accounts=True)})
    port = _free_port()
    server = uvicorn.Server(
        uvicorn.Config(create_app(settings), port=port, log_config=None, timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(20)


def set_password(page: Page, name: str = "") -> None:
    if name:
        page.get_by_label("Name or e-mail address").fill(name)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    page.get_by_role("button", name=re.compile("Make the administrator|Set the password")).click()


@pytest.mark.parametrize("width", [1440, 390])
def test_two_people_share_a_model(ctx: Context, browser: Browser, width: int) -> None:
    world = seeding.world(ctx)
    with ctx.db.session(write=True) as session:
        key = links.first_link(session)
    with guarded(ctx) as address:
        ada, mia = (browser.new_context(viewport={"width": width, "height": 900}).new_page() for _ in range(2))
        complaints = watch_for_errors(ada)
        ada.goto(f"{address}/jobs")
        expect(ada.get_by_text("Nobody can sign in yet")).to_be_visible()
        ada.goto(f"{address}/welcome?key={key}")
        set_password(ada, "ada@example.org")
        expect(ada).to_have_url(f"{address}/")
        ada.goto(f"{address}/settings/people")
        ada.get_by_label("Name or e-mail address").fill("mia")
        ada.get_by_label("Member").check()
        ada.get_by_role("button", name="Add them").click()
        link = re.search(r"http\S+/welcome\?key=[\w-]+", ada.content())
        assert link
        mia.goto(link[0])
        set_password(mia)
        expect(mia).to_have_url(f"{address}/")
        expect(mia.get_by_role("heading", name="Teach a model your data")).to_be_visible()
        mia.goto(f"{address}/jobs/{world.done}")
        expect(mia.get_by_text(re.compile("There is no job"))).to_be_visible()
        ada.goto(f"{address}/jobs/{world.done}")
        ada.get_by_role("button", name="Share").click()
        expect(ada.get_by_text("yours, shared with everybody")).to_be_visible()
        mia.reload()
        expect(mia.get_by_text("of ada@example.org, shared with everybody")).to_be_visible()
        expect(mia.get_by_role("button", name="Delete")).to_have_count(0)
        ada.goto(f"{address}/settings/log")
        expect(ada.get_by_role("row").filter(has_text="job: share")).to_be_visible()
        for page in (ada, mia):
            inside = page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
            assert inside, "nothing sticks out at the side"
        mia.goto(f"{address}/account")
        mia.get_by_role("button", name="Sign out").first.click()
        expect(mia.get_by_role("heading", name="Sign in")).to_be_visible()
        mia.get_by_label("Name or e-mail address").fill("mia")
        mia.get_by_label("Password").fill("wrong wrong")
        mia.get_by_role("button", name="Sign in").click()
        expect(mia.get_by_text("The name or the password is not right.")).to_be_visible()
        assert complaints == []
        for page in (ada, mia):
            page.context.close()
