"""The pages in another language: what is said, who chose it, and that nothing in the catalogue breaks a page."""

from __future__ import annotations

import re

import pytest
from babel.messages.catalog import Catalog
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from app.web.language import COOKIE, LANGUAGES, wanted
from scripts import messages as catalogues
from tests.web import seeding
from tests.web.test_pages import every_page

_HOLES = re.compile(r"%\(\w+\)[sd]|\{\w+\}|%%")
OTHERS = [language for language in LANGUAGES if language != "en"]
#: Of the sentences that the code has; what is new may wait a little.
_TRANSLATED = 0.95


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_is_nearly_whole_and_keeps_every_hole(language: str) -> None:
    catalog = catalogues.updated(language)
    there = [message for message in catalog if message.id]
    said = [message for message in there if any(catalogues._strings(message.string))]
    assert len(said) >= _TRANSLATED * len(there), "python scripts/messages.py --missing"
    for message in said:
        source = message.id if isinstance(message.id, str) else message.id[1]
        for text in catalogues._strings(message.string):
            assert sorted(_HOLES.findall(text)) == sorted(_HOLES.findall(source)), source


@pytest.mark.parametrize("language", OTHERS)
def test_what_the_program_reads_is_the_catalogue(language: str) -> None:
    folder = catalogues.LOCALE / language / "LC_MESSAGES"
    stored: Catalog = catalogues.catalogue(language)
    assert (folder / "tunedeck.mo").read_bytes() == catalogues.compiled(stored), "python scripts/messages.py"


def test_every_page_is_shown_in_every_language(client: TestClient, world: seeding.World) -> None:
    for language in OTHERS:
        client.cookies.set(COOKIE, language)
        for path in every_page(world):
            answer = client.get(path)
            assert answer.status_code == (404 if path == "/nope" else 200), path
            assert f'<html lang="{language}' in answer.text, path
    assert "\u6570\u636e\u96c6" in client.get("/datasets").text  # data sets
    assert client.get("/jobs/999").status_code == 404
    client.cookies.delete(COOKIE)
    assert '<html lang="en">' in client.get("/").text


def test_the_language_is_chosen_with_a_button_and_kept(client: TestClient) -> None:
    own = str(client.base_url).rstrip("/")
    here = {"referer": f"{own}/jobs?show=failed"}
    answer = client.post("/language", data={"language": "zh"}, headers=here)
    assert answer.headers["location"] == "/jobs?show=failed"
    assert '<html lang="zh-Hans">' in client.get("/").text
    assert '<html lang="zh-Hans">' in client.get("/", headers={"accept-language": "en"}).text
    assert client.get("/api/jobs/999").json()["error"]["message"].isascii()  # scripts read English
    for place in ("http://elsewhere/jobs", f"{own}//elsewhere", "\\\\elsewhere", ""):
        answer = client.post("/language", data={"language": "xx"}, headers={"referer": place})
        assert answer.headers["location"] == "/"
    assert '<html lang="zh-Hans">' in client.get("/").text


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("de-DE,de;q=0.9,zh;q=0.5,en;q=0.8", "en"),
        ("fr", "en"),
        ("", "en"),
        ("zh;q=x, en;q=0.1", "en"),
        (",;q=,,zh", "zh"),
    ],
)
def test_without_a_choice_the_browser_decides(asked: str, found: str) -> None:
    assert wanted(Headers({"accept-language": asked})) == found
    assert wanted(Headers({"accept-language": asked, "cookie": f"{COOKIE}=en"})) == "en"
    assert wanted(Headers({"accept-language": asked, "cookie": f"{COOKIE}=<b>; x=\x01"})) == found
