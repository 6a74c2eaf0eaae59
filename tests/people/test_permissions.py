"""Every route, with everybody: what happens is what the table says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from app.domain.users import tokens
from app.domain.users.access import Role, Scope
from app.web.permissions import PERMISSIONS, Need
from tests.people.conftest import PEOPLE, House
from tests.people.expectations import NO, NOTHING, OPEN, SIGN_IN, expected

#: What changes the world so that other calls would find nothing: last.
_LAST = ("delete", "close", "sign-out", "password", "revoke", "cancel", "checkpoints", "merged", "exports", "role")
_STREAMS = ("/changed", "/jobs/{job_id}/events")


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    return sorted({(method, route.path) for route in _flat(app.routes) for method in route.methods or ()})


def _flat(routes: Any) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "original_router"):
            yield from _flat(route.original_router.routes)


def test_every_route_has_its_row_and_every_row_its_route(house: House) -> None:
    rows = set(PERMISSIONS) - {("GET", "/api/openapi.json")}  # the framework's own
    assert set(routes_of(house.app)) == rows


def test_every_change_has_a_word_in_the_audit_log() -> None:
    silent = {path for (method, path), rule in PERMISSIONS.items() if method != "GET" and not rule.action}
    # Asked by a form while it is filled in; signing in is told by itself; a language is the browser's alone.
    tried = {"/datasets/{dataset_id}/mapping/preview", "/jobs/new/questions"}
    assert silent == {*tried, "/sign-in", "/welcome", "/language"}


def ids(house: House) -> dict[str, Any]:
    world = house.world
    return {
        "dataset_id": world.dataset,
        "upload_id": 10**6,
        "job_id": world.done,
        "artifact_id": world.gguf,
        "sweep_id": world.sweep,
        "user_id": house.ids["vi"],
        "token_id": 1,
        "browser_id": 10**6,
        "message_id": 10**6,
        "queue": "gpu",
        "name": "nobody",
        "channel": "webhook",
        "folder": "nothing",
        "number": 1,
    }


def said(answer: Any, method: str, path: str) -> str:
    """What became of a call."""
    if PERMISSIONS[method, path].need is Need.NOTHING:
        return OPEN  # what it answers is the way in itself
    if answer.status_code == 401 or answer.headers.get("location", "").startswith("/sign-in"):
        return SIGN_IN
    if answer.status_code == 403:
        return NO
    return NOTHING if answer.status_code == 404 else OPEN


def in_order(house: House) -> list[tuple[str, str]]:
    found = [key for key in routes_of(house.app) if key != ("POST", "/sign-out")]
    last = [key for key in found if key[0] == "DELETE" or key[1].endswith(_LAST) or "/exports/" in key[1]]
    return [key for key in found if key not in last] + sorted(last, key=str) + [("POST", "/sign-out")]


#: Missing for reasons of their own, to those who may look.
_MAY_BE_MISSING = {
    ("PATCH", "/datasets/uploads/{upload_id}"),
    ("POST", "/datasets/uploads/{upload_id}/finish"),
    ("POST", "/datasets/uploads/{upload_id}/delete"),
    ("POST", "/account/tokens/{token_id}/revoke"),
    ("POST", "/account/browsers/{browser_id}/sign-out"),
    ("POST", "/settings/notifications/messages/{message_id}/again"),
    ("POST", "/storage/models/{folder}"),
    ("POST", "/workers/{queue}/{name}/drain"),
    ("POST", "/workers/{queue}/{name}/resume"),
    ("POST", "/api/workers/{queue}/{name}/drain"),
    ("POST", "/api/workers/{queue}/{name}/resume"),
    ("POST", "/storage/jobs/{job_id}/merged"),
    ("POST", "/storage/jobs/{job_id}/checkpoints"),
    ("POST", "/storage/exports/{artifact_id}"),
    ("GET", "/welcome"),
    ("POST", "/welcome"),
    ("POST", "/jobs/new/questions"),
}


@pytest.mark.parametrize("shared", [False, True], ids=["private", "shared"])
@pytest.mark.parametrize("who", ["nobody", *PEOPLE])
def test_everybody_at_every_door(house: House, who: str, shared: bool) -> None:
    house.share(shared=shared)
    browser = house.browser("" if who == "nobody" else who)
    role = PEOPLE.get(who)
    walk(house, browser, role, None, mine=who == "mia", shared=shared)


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("who", ["ada", "mia"])
def test_a_token_reaches_no_further_than_its_scope(house: House, who: str, scope: Scope) -> None:
    with house.ctx.db.session(write=True) as session:
        _row, text = tokens.make(session, house.ids[who], "test", scope, 30)
    walk(house, house.browser(token=text), PEOPLE[who], scope, mine=who == "mia", shared=False)


def walk(
    house: House, browser: TestClient, role: Role | None, scope: Scope | None, *, mine: bool, shared: bool
) -> None:
    wrong, gone = [], False
    for method, path in in_order(house):
        rule = PERMISSIONS[method, path]
        wanted = expected(rule, role, scope, method, mine=mine, shared=shared)
        answer = browser.request(method, path.format(**ids(house)), headers={"accept": "application/json"})
        assert answer.status_code < 500 or path == "/readyz", (method, path, answer.text)  # there is no broker here
        found = said(answer, method, path)
        missing = (method, path) in _MAY_BE_MISSING or (gone and bool(rule.what))
        if found != wanted and not (found == NOTHING and wanted == OPEN and missing):
            wrong.append(f"{method} {path}: {found} ({answer.status_code}), not {wanted}")
        gone = gone or (wanted == OPEN and path.endswith("/delete"))
        gone = gone or (wanted == OPEN and method == "DELETE")
    assert wrong == []
