"""Tools and calls of tools, however a file writes them. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from app.domain.datasets.refusals import Row, RowError


def read_tools(tools: object) -> list[Row]:
    """A list of definitions, or the same as JSON text, each as OpenAI writes it. Raises `RowError`."""
    found = opened(tools)
    if found is None or found == "":
        return []
    if not isinstance(found, list):
        raise RowError("bad_tools", "`tools` must be a list of tool definitions.")
    return [_tool(tool) for tool in found]


def _tool(tool: object) -> Row:
    inner = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise RowError("bad_tools", "A definition in `tools` has no name. Each needs a name and its parameters.")
    return {"type": "function", "function": _without_nulls(inner)}


def _without_nulls(value: dict[str, Any]) -> Row:
    """Tables that need the same columns in every row fill up with nulls, which no template expects."""
    return {key: each for key, each in value.items() if each is not None}


def read_calls(calls: object, number: int) -> list[Row]:
    """`tool_calls` of a turn, or a call as JSON text. Raises `RowError`."""
    found = opened(calls)
    if not found:
        return []
    return [_call(call, number) for call in (found if isinstance(found, list) else [found])]


def _call(call: object, number: int) -> Row:
    call = opened(call)
    inner = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"]:
        message = f"A tool call of turn {number} has no name. Each needs a name and its arguments."
        raise RowError("bad_tool_call", message)
    out: Row = {"type": "function", "function": {"name": inner["name"], "arguments": _arguments(inner, number)}}
    name = call.get("id") if isinstance(call, dict) else None
    return {"id": name} | out if isinstance(name, str) and name else out


def _arguments(inner: Row, number: int) -> object:
    given = inner.get("arguments", inner.get("parameters"))
    arguments = {} if given is None or given == "" else opened(given)
    if not isinstance(arguments, dict):
        name = str(inner["name"])[:60]
        message = f"The arguments of the call of `{name}` in turn {number} are no JSON object. Write {{…}}."
        raise RowError("bad_tool_call", message)
    return arguments


def opened(value: object) -> Any:
    """JSON text as what it says; anything else, and text that is none, as it is."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value
