"""What can be reached from outside, found by looking: routes, the forms of the pages, the fields that code reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from app.core.settings import Settings
from app.main import create_app

ROOT = Path(__file__).resolve().parents[2]
_NOT_PAGES = ("/download", "/events", "/changed", "/static/")


def routes(settings: Settings) -> list[APIRoute]:
    """Every route of the application."""
    return list(_flat(create_app(settings).routes))


def _flat(found: Sequence[BaseRoute]) -> Iterator[APIRoute]:
    for route in found:
        if isinstance(route, APIRoute):
            yield route
        else:
            router = getattr(route, "original_router", None)
            yield from _flat(list(router.routes)) if router is not None else ()


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.forms: list[tuple[str, set[str]]] = []
        self._names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a" and given.get("href", "").startswith("/"):
            self.links.add(given["href"].partition("#")[0])
        if tag == "form":
            self._names = set()
            self.forms.append((given.get("action", ""), self._names))
        if tag in {"input", "select", "textarea", "button"} and given.get("name"):
            self._names.add(given["name"])


@dataclass
class Surface:
    """`pages`: addresses of all pages; `forms`: route of a form -> the names of its fields."""

    pages: set[str] = field(default_factory=set)
    forms: dict[str, set[str]] = field(default_factory=dict)


def look_around(browser: httpx.Client, paths: Sequence[str]) -> Surface:
    """Follow every link of the pages; `paths`: the templates of the routes that take forms."""
    found, waiting = Surface(), ["/", "/patterns"]
    patterns = {re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)): path for path in paths}
    while waiting:
        path = waiting.pop()
        if path in found.pages or any(part in path for part in _NOT_PAGES):
            continue
        found.pages.add(path)
        page = _Page(browser.get(path).text)
        waiting += page.links
        if path == "/patterns":  # its forms lead nowhere
            continue
        for action, names in page.forms:
            for pattern, template in patterns.items():
                if pattern.fullmatch(action):
                    found.forms.setdefault(template, set()).update(names)
    return found


_READERS = {"text": 1, "getlist": 0, "get": 0}


def fields_read() -> set[str]:
    """Names that code of the web side reads from a form: `text(form, "x")`, `form.getlist("x")`, `form.get("x")`."""
    names: set[str] = set()
    for path in (ROOT / "app" / "web").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names |= set(_read_by(node)) if isinstance(node, ast.Call) else set()
    return names


def _read_by(call: ast.Call) -> Iterator[str]:
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    owner = getattr(getattr(call.func, "value", None), "id", "")
    place = _READERS.get(name)
    if place is None or (name != "text" and owner not in {"form", "fields"}) or len(call.args) <= place:
        return
    given = call.args[place]
    if isinstance(given, ast.Constant) and isinstance(given.value, str):
        yield given.value


def fields_described(document: dict[str, Any]) -> set[str]:
    """Names of all parameters and of all properties that the JSON calls take."""
    names: set[str] = set()
    for calls in document["paths"].values():
        for call in calls.values():
            names |= {each["name"] for each in call.get("parameters", ())}
            names |= set(_properties(call.get("requestBody", {}), document))
    return names


def _properties(schema: Any, document: dict[str, Any]) -> Iterator[str]:
    if isinstance(schema, list):
        for each in schema:
            yield from _properties(each, document)
    elif isinstance(schema, dict):
        if "$ref" in schema:
            yield from _properties(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
        yield from schema.get("properties", {})
        for key, value in schema.items():
            if key not in {"examples", "$ref"}:
                yield from _properties(value, document)


def parameters(found: Sequence[APIRoute]) -> set[str]:
    """Names in paths and queries."""
    return {each.alias for route in found for each in (*route.dependant.path_params, *route.dependant.query_params)}
