"""The text of one row as a JSON value; what is wrong with it is said in words."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from app.domain.datasets.refusals import RowError
from app.domain.files.records import Record

#: Deeper rows would end in a RecursionError somewhere on their way: in a template, a copy, another JSON reader.
MAX_DEPTH = 100
MAX_KEYS = 10_000
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
_decode = msgspec.json.Decoder().decode


def value_of(record: Record) -> object:
    """The row as a value. Raises `RowError`."""
    if record.error:
        raise record.error
    if record.value is None:
        return parse(record.raw)
    check_depth(record.value)
    return record.value


def parse(raw: bytes) -> object:
    """The value. Raises `RowError`."""
    try:
        value = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _not_json(raw, exc) from exc
    check_depth(value, raw.count(b"[") + raw.count(b"{"))
    _check_keys(value, raw)
    return value


def _not_json(raw: bytes, exc: Exception) -> RowError:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as bad:
        message = f"Byte {bad.start + 1} of the row is not UTF-8. Save the file as UTF-8."
        return RowError("not_utf8", message)
    if _HALF_PAIR.search(text) and not _is_json(text):
        return RowError(
            "invalid_json", "The row holds half of a surrogate pair (\\ud800 to \\udfff). Remove that character."
        )
    said = "it is nested too deep" if isinstance(exc, RecursionError) else str(exc).removeprefix("JSON is malformed: ")
    return RowError("invalid_json", f"The row is not valid JSON: {said}. Check quotes, commas and brackets.")


def _is_json(text: str) -> bool:
    """Whether it fails for another reason than its surrogates."""
    try:
        msgspec.json.decode(re.sub(r"\\u[dD][89a-fA-F]\w\w", "?", text))
    except (msgspec.DecodeError, RecursionError):
        return True
    return False


def check_depth(value: object, brackets: int = MAX_DEPTH + 1) -> None:
    """`brackets`: as many are in its text. Raises `RowError`."""
    if brackets > MAX_DEPTH and _is_deep(value, MAX_DEPTH):
        raise RowError("too_deep", f"The row is nested more than {MAX_DEPTH} deep. Flatten its tool calls.")


def _is_deep(value: object, left: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return left == 0 or any(_is_deep(each, left - 1) for each in inside)


def _check_keys(value: object, raw: bytes) -> None:
    """A key given twice: readers differ in which one they take. Colons after quotes tell whom to look at closely."""
    colons = raw.count(b'":') + raw.count(b'" :')
    keys = _count_keys(value)
    if keys > MAX_KEYS:
        raise RowError("too_many_keys", f"The row has more than {MAX_KEYS} keys. Leave out what is not needed.")
    if colons > keys:
        json.loads(raw, object_pairs_hook=_no_twice)


def _count_keys(value: object) -> int:
    count, waiting = 0, [value]
    while waiting:
        each = waiting.pop()
        if type(each) is dict:
            count += len(each)
            waiting.extend(each.values())
        elif type(each) is list:
            waiting.extend(each)
    return count


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RowError("key_twice", f"The key `{twice[:60]}` stands twice in one object. Keep one of them.")
    return found
