"""Generated requests by the thousand: every JSON call by its own description, every form with hostile values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx
import schemathesis
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.hostile.canaries import hidden_from
from tests.hostile.site import Site
from tests.hostile.surface import look_around, routes
from tests.hostile.values import XSS, some_text
from tests.hostile.visitors import ADMINISTRATOR, ONE, Caller, Visitor
from tests.people.crowd import PASSWORD

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
#: Values that lead somewhere: what is made up alone hardly ever gets past the first look.
_SOMEWHERE = {
    "job_id": st.integers(1, 14),
    **dict.fromkeys(("dataset_id", "artifact_id", "user_id"), st.integers(1, 4)),
    **dict.fromkeys(("message_id", "token_id", "sweep_id"), st.integers(1, 2)),
    "browser_id": st.integers(1, 20),
    "queue": st.sampled_from(["gpu", "light"]),
    "name": st.just("w"),
    "channel": st.sampled_from(["webhook", "email"]),
    "folder": st.just("a--b"),
    "number": st.integers(1, 3),
}
_NUMBERS = st.sampled_from(["1", "2", "3", "0.5", "60"])
_LIKELY = {
    "dataset_id": _NUMBERS,
    "base_model": st.just("HuggingFaceTB/SmolLM2-135M-Instruct"),
    "artifact": st.sampled_from(["merged", "gguf"]),
    "quant": st.sampled_from(["", "q8_0"]),
    "what": st.sampled_from(["adapter:", "gguf:q8_0"]),
    "repo_id": st.just("ada/tune"),
    "where": st.sampled_from(["earlier", "later"]),
    "priority": st.sampled_from(["urgent", "normal", "whenever"]),
    "ends": st.sampled_from(["succeeded", "failed"]),
    "url": st.just("https://example.org/hook"),
    "host": st.just("smtp.example.org"),
    "port": st.just("587"),
    "security": st.sampled_from(["starttls", "tls", "none"]),
    "sender": st.just("a@example.org"),
    "recipients": st.just("b@example.org, c@example.org"),
    "name": st.sampled_from(["mia", "max", "somebody new"]),
    **dict.fromkeys(("password", "again", "old_password"), st.just(PASSWORD)),
    "role": st.sampled_from(["viewer", "member", "administrator"]),
    "scope": st.sampled_from(["read", "write", "admin"]),
    "days": st.sampled_from(["30", "0"]),
}


@dataclass
class Tally:
    """What was sent, what came back, and what should not have."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    findings: dict[str, str] = field(default_factory=dict)

    def count(self, status: int) -> None:
        """One more answer."""
        self.requests += 1
        self.statuses[status] += 1

    def found(self, where: str, what: str) -> None:
        """Something wrong; the first of its kind at this place is kept."""
        self.findings.setdefault(f"{where}: {what.splitlines()[0]}", what)

    def add(self, other: Tally) -> None:
        """Both together."""
        self.requests += other.requests
        self.statuses += other.statuses
        self.findings = other.findings | self.findings


def _drawn(number: int, examples: int, strategy: st.SearchStrategy[Any], use: Callable[[Any], None]) -> None:
    """`use` what hypothesis makes from this seed; nothing is stored, nothing made smaller."""

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(value: Any) -> None:
        use(value)

    run()


def calls(caller: Caller, number: int, examples: int) -> Tally:
    """`examples` requests to each JSON call, as described and against its description in turn."""
    tally = Tally()
    document = schemathesis.openapi.from_url(f"{caller.site.url}/api/openapi.json")
    operations = [found.ok() for found in document.get_all_operations() if isinstance(found, Ok)]
    for operation in sorted(operations, key=lambda each: each.method == "delete"):
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                strategy = st.tuples(operation.as_strategy(generation_mode=mode), st.data())
                _drawn(number, max(1, examples // 2), strategy, lambda pair: _call(tally, caller, *pair))
            except Unsatisfiable:  # a call without parameters can't be called wrongly
                continue
    return tally


def _call(tally: Tally, caller: Caller, case: Any, data: st.DataObject) -> None:
    for name in (case.path_parameters or {}).keys() & _SOMEWHERE.keys():
        if data.draw(st.integers(0, 3)):
            case.path_parameters[name] = data.draw(_SOMEWHERE[name])
    answer = case.call(session=caller.script, timeout=60)
    tally.count(answer.status_code)
    where = f"{case.operation.label} {answer.status_code}"
    try:
        case.validate_response(answer, checks=CHECKS)
    except FailureGroup as group:
        for each in group.exceptions:
            tally.found(where, f"{each.title}\n{group}")
    headers = {name.lower(): ", ".join(values) for name, values in answer.headers.items()}
    door = Door(case.method.upper(), case.operation.path, answer.status_code, headers, answer.content)
    _judge_door(tally, caller.visitor, door)
    if answer.status_code == 401 and caller.visitor.name:
        tally.found(where, f"who is signed in was not known\n{answer.text}")


def pages(caller: Caller, forms: dict[str, set[str]], number: int, examples: int) -> Tally:
    """`examples` requests to each route that is no JSON call: forms with hostile fields, pages with hostile queries."""
    tally = Tally()
    for route in sorted(
        _pages(caller.site), key=lambda each: each.path.endswith("/delete")
    ):  # what is gone is not attacked
        if not route.path.endswith(("/events", "/changed")):  # these answer for minutes
            _drawn(number, examples, st.data(), partial(_visit, tally, caller, route, forms))
    return tally


def _pages(site: Site) -> list[APIRoute]:
    return [each for each in routes(site.ctx.settings) if not each.path.startswith("/api/")]


def forms_of(site: Site) -> dict[str, set[str]]:
    """Every form that anybody is shown: who may not send it finds its fields elsewhere."""
    with closing(Caller(site, ADMINISTRATOR if site.ids else ONE)) as caller:
        forms = look_around(
            caller.browser, [each.path for each in _pages(site) if "POST" in (each.methods or ())]
        ).forms
    return forms | dict.fromkeys(("/jobs/new/panel", "/jobs/new/questions"), forms["/jobs"])


def _visit(tally: Tally, caller: Caller, route: APIRoute, forms: dict[str, set[str]], data: st.DataObject) -> None:
    path = re.sub(r"\{(\w+)\}", lambda found: quote(_segment(found[1], data), safe=""), route.path)
    method = "POST" if "POST" in (route.methods or ()) else "GET"
    query = {each.alias: data.draw(some_text) for each in route.dependant.query_params if data.draw(st.booleans())}
    fields = _fields(forms.get(route.path, set()), data)
    headers = data.draw(st.sampled_from([{}, {"hx-request": "true", "hx-request-type": "partial", "hx-target": "a#x"}]))
    if route.path == "/datasets" and method == "POST":
        file = (fields.get("name", "x"), data.draw(st.binary(max_size=200)))
        answer = caller.browser.post(path, files={"file": file}, data=fields, headers=headers)
    else:
        sent = fields if method == "POST" else None
        answer = caller.browser.request(method, path, params=query, headers=headers, data=sent)
    tally.count(answer.status_code)
    where = f"{method} {route.path}"
    _judge(tally, where, answer, (path, query, fields))
    door = Door(method, route.path, answer.status_code, answer.headers, answer.content)
    _judge_door(tally, caller.visitor, door)
    caller.keep_in(answer)


def _segment(name: str, data: st.DataObject) -> str:
    known = _SOMEWHERE.get(name)
    return str(data.draw(known)) if known is not None and data.draw(st.integers(0, 3)) else data.draw(some_text)


def _fields(names: set[str], data: st.DataObject) -> dict[str, str]:
    hostile = data.draw(st.sets(st.sampled_from(sorted(names)), max_size=4)) if names else set()
    fields = {name: data.draw(_LIKELY.get(name, _NUMBERS)) for name in sorted(names) if data.draw(st.integers(0, 4))}
    return fields | {name: data.draw(some_text) for name in sorted(hostile)}


def _judge(tally: Tally, where: str, answer: httpx.Response, sent: object) -> None:
    if answer.status_code >= 500 and "readyz" not in where:
        tally.found(where, f"status {answer.status_code}\n{sent!r}")
    if "content-security-policy" not in answer.headers:
        tally.found(where, f"no headers at {answer.status_code}\n{sent!r}")
    if answer.headers.get("content-type", "").startswith("text/html") and any(each in answer.text for each in XSS[:4]):
        tally.found(where, f"hostile markup as it came\n{sent!r}")


@dataclass(frozen=True)
class Door:
    """A route and what was heard there."""

    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    content: bytes


def _judge_door(tally: Tally, visitor: Visitor, door: Door) -> None:
    """What holds for every answer to this visitor."""
    where = f"{door.method} {door.path}"
    said = door.content + "\n".join(door.headers.values()).encode()
    for canary in hidden_from(visitor):
        if canary.encode() in said:
            tally.found(where, f"tells {canary}\n{door}")
    if door.status == 429 and not door.headers.get("retry-after", "").isdigit():
        tally.found(where, f"429 without saying when to come back\n{door}")
    away = any(door.headers.get(name, "").startswith("/sign-in") for name in ("location", "hx-redirect"))
    slash = door.status == 307  # the router's own, from `/jobs/` to `/jobs`: no route was reached
    if door.status < 400 and not away and not slash and not visitor.may(door.method, door.path):
        tally.found(where, f"let in {visitor.label}\n{door}")
