"""Generated requests by the thousand: every JSON call by its own description, every form with hostile values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx
import requests
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

from tests.hostile.site import Site
from tests.hostile.surface import look_around, routes
from tests.hostile.values import XSS, some_text

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
#: Values that lead somewhere: what is made up alone hardly ever gets past the first look.
_SOMEWHERE = {
    "job_id": st.integers(1, 9),
    **dict.fromkeys(("dataset_id", "artifact_id", "message_id", "sweep_id"), st.integers(1, 2)),
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


def calls(site: Site, number: int, examples: int) -> Tally:
    """`examples` requests to each JSON call, as described and against its description in turn."""
    tally, session = Tally(), requests.Session()
    document = schemathesis.openapi.from_url(f"{site.url}/api/openapi.json")
    operations = [found.ok() for found in document.get_all_operations() if isinstance(found, Ok)]
    for operation in sorted(operations, key=lambda each: each.method == "delete"):
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                strategy = st.tuples(operation.as_strategy(generation_mode=mode), st.data())
                _drawn(number, max(1, examples // 2), strategy, lambda pair: _call(tally, session, *pair))
            except Unsatisfiable:  # a call without parameters can't be called wrongly
                continue
    return tally


def _call(tally: Tally, session: requests.Session, case: Any, data: st.DataObject) -> None:
    for name in (case.path_parameters or {}).keys() & _SOMEWHERE.keys():
        if data.draw(st.integers(0, 3)):
            case.path_parameters[name] = data.draw(_SOMEWHERE[name])
    answer = case.call(session=session, timeout=30)
    tally.count(answer.status_code)
    try:
        case.validate_response(answer, checks=CHECKS)
    except FailureGroup as group:
        for each in group.exceptions:
            tally.found(f"{case.operation.label} {answer.status_code}", f"{each.title}\n{group}")


def pages(site: Site, number: int, examples: int) -> Tally:
    """`examples` requests to each route that is no JSON call: forms with hostile fields, pages with hostile queries."""
    tally = Tally()
    with site.browser() as browser:
        all_routes = [each for each in routes(site.ctx.settings) if not each.path.startswith("/api/")]
        forms = look_around(browser, [each.path for each in all_routes if "POST" in (each.methods or ())]).forms
        forms["/jobs/new/panel"] = forms["/jobs/new/questions"] = forms["/jobs"]
        for route in sorted(all_routes, key=lambda each: each.path.endswith("/delete")):  # what is gone is not attacked
            if not route.path.endswith(("/events", "/changed")):  # these answer for minutes
                _drawn(number, examples, st.data(), partial(_visit, tally, browser, route, forms))
    return tally


def _visit(
    tally: Tally, browser: httpx.Client, route: APIRoute, forms: dict[str, set[str]], data: st.DataObject
) -> None:
    path = re.sub(r"\{(\w+)\}", lambda found: quote(_segment(found[1], data), safe=""), route.path)
    method = "POST" if "POST" in (route.methods or ()) else "GET"
    query = {each.alias: data.draw(some_text) for each in route.dependant.query_params if data.draw(st.booleans())}
    fields = _fields(forms.get(route.path, set()), data)
    headers = data.draw(st.sampled_from([{}, {"hx-request": "true", "hx-request-type": "partial", "hx-target": "a#x"}]))
    if route.path == "/datasets" and method == "POST":
        file = (fields.get("name", "x"), data.draw(st.binary(max_size=200)))
        answer = browser.post(path, files={"file": file}, data=fields, headers=headers)
    else:
        sent = fields if method == "POST" else None
        answer = browser.request(method, path, params=query, headers=headers, data=sent)
    tally.count(answer.status_code)
    _judge(tally, f"{method} {route.path}", answer, (path, query, fields))


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
