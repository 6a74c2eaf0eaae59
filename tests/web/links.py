"""What a page leads to, and whether it holds anything that the content security policy would refuse."""

from __future__ import annotations

import re
from html.parser import HTMLParser


class Links(HTMLParser):
    """Addresses a page leads to, and what the content policy forbids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[tuple[str, str]] = set()
        self.inline: list[str] = []
        self.ids: list[str] = []
        self._method = "GET"
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._check(tag, given)
        if given.get("id"):
            self.ids.append(given["id"] or "")
        for name, method in (("href", "GET"), ("src", "GET"), ("data-src", "GET"), ("hx-sse:connect", "GET")):
            self._add(method, given.get(name))
        self._add("GET", given.get("hx-get"))
        self._add("POST", given.get("hx-post"))
        if tag == "form":
            self._add((given.get("method") or "get").upper(), given.get("action"))

    def _add(self, method: str, address: str | None) -> None:
        if address and address.startswith("/"):
            self.found.add((method, address.split("#")[0].split("?")[0]))

    def _check(self, tag: str, given: dict[str, str | None]) -> None:
        if tag == "style" or "style" in given or any(re.match(r"(hx-)?on\w", name) for name in given):
            self.inline.append(f"{tag} {given}")
        if tag == "script" and not given.get("src"):
            self.inline.append(tag)
        if (given.get("href") or "").startswith(("javascript:", "http:", "https:", "//")):
            self.inline.append(f"{tag} leads elsewhere: {given}")
