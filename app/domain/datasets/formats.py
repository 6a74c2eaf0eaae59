"""Rows of an uploaded file become canonical rows, or a problem with a code and what to do. Pure.

Canonical row: `{"messages": [{"role", "content", "reasoning"?, "tool_calls"?, "tool_call_id"?, "weight"?}], "tools"?}`;
of plain text `{"text"}`; each with `"split"`, as its last key, where the row says to which side it belongs. Of
preferences `{"prompt", "chosen", "rejected"}` or `{"prompt", "completion", "label"}`, where each is a list of turns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from app.domain.datasets import columns, pairs
from app.domain.datasets.refusals import FormatError, Row, RowError, UnknownRowsError
from app.domain.datasets.sharegpt import to_messages
from app.domain.datasets.sides import side_of
from app.domain.datasets.tooling import opened, read_tools
from app.domain.datasets.turns import check_conversation, read_turns

__all__ = ["FIELDS", "FORMATS", "Format", "FormatError", "Row", "RowError", "convert", "detect", "merged", "used"]

Format = Literal["messages", "sharegpt", "alpaca", "prompt_completion", "columns", "text", "preference", "labelled"]
FORMATS: tuple[Format, ...] = get_args(Format)
#: Understood, kept and shown; nothing here trains on them yet.
NOT_TRAINED: frozenset[str] = frozenset({"preference", "labelled"})


@dataclass(frozen=True)
class Field:
    """A part of a row, and the names that its column may have, in order of preference."""

    name: str
    #: Compared without case, `-`, `_` and spaces.
    columns: tuple[str, ...]
    needed: bool = False


_SYSTEM = Field("system", ("system", "systemprompt"))
_TOOLS = Field("tools", ("tools", "functions"))
_REASONING = Field(
    "reasoning", ("complexcot", "reasoning", "reasoningcontent", "cot", "chainofthought", "thinking", "thought")
)
_SPLIT = Field("split", ("split",))
_CHATS = ("messages", "conversations", "conversation", "dialog", "dialogue", "turns", "chat")
_PROMPT = Field("prompt", ("prompt", "question", "instruction"), needed=True)
#: The parts of each format.
FIELDS: dict[Format, tuple[Field, ...]] = {
    "messages": (Field("messages", _CHATS, needed=True), _SYSTEM, _TOOLS, _SPLIT),
    "sharegpt": (Field("messages", ("conversations", *_CHATS), needed=True), _SYSTEM, _TOOLS, _SPLIT),
    "alpaca": (
        Field("instruction", ("instruction",), needed=True),
        Field("input", ("input", "context")),
        Field("output", ("output", "response", "answer"), needed=True),
        _REASONING,
        _SYSTEM,
        Field("history", ("history",)),
        _SPLIT,
    ),
    "prompt_completion": (
        Field("prompt", ("prompt",), needed=True),
        Field("completion", ("completion",), needed=True),
        _SYSTEM,
        _TOOLS,
        _SPLIT,
    ),
    "columns": (
        Field("question", ("question", "prompt", "query", "instruction"), needed=True),
        _REASONING,
        Field("answer", ("response", "answer", "output", "completion"), needed=True),
        _SYSTEM,
        _SPLIT,
    ),
    "text": (Field("text", ("text", "content", "document"), needed=True), _SPLIT),
    "preference": (
        Field("prompt", _PROMPT.columns),
        Field("chosen", ("chosen",), needed=True),
        Field("rejected", ("rejected",), needed=True),
        _SYSTEM,
    ),
    "labelled": (
        _PROMPT,
        Field("completion", ("completion", "response", "answer"), needed=True),
        Field("label", ("label",), needed=True),
        _SYSTEM,
    ),
}
#: The first whose needed parts are all there is taken; `messages` stands for both kinds of conversations.
_ORDER: tuple[Format, ...] = (
    "preference", "labelled", "messages", "alpaca", "prompt_completion", "columns", "text",
)  # fmt: skip


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", name).lower()


def find_columns(names: Iterable[str], kind: Format = "columns") -> dict[str, str]:
    """Part of a row -> column, for the columns that are known by name."""
    by_name = {_plain(name): name for name in reversed(list(names))}
    found: dict[str, str] = {}
    for field in FIELDS[kind]:
        column = next((by_name[name] for name in field.columns if name in by_name), None)
        if column is not None and column not in found.values():
            found[field.name] = column
    return found


def merged(rows: Iterable[object]) -> Row:
    """One row with the columns of all, each with the first value that says something."""
    out: Row = {}
    for row in rows:
        for name, value in row.items() if isinstance(row, dict) else ():
            if not out.get(name):
                out[name] = value
    return out


def detect(row: Mapping[str, Any]) -> tuple[Format, dict[str, str]]:
    """The format of a file by one of its rows, and the mapping of its columns. Raises `FormatError`."""
    for kind in _ORDER:
        mapping = find_columns(row, kind)
        if all(field.name in mapping for field in FIELDS[kind] if field.needed) and _fits(kind, row, mapping):
            return _kind_of_chat(row, mapping) if kind == "messages" else (kind, mapping)
    columns = ", ".join(f"`{name}`" for name in list(row)[:12]) or "none"
    message = (
        f"No known format: the columns are {columns}. Say which column is the question and which the answer, "
        "or use a `messages` list (OpenAI's chat format)."
    )
    raise UnknownRowsError(message[:2000])


def _fits(kind: Format, row: Mapping[str, Any], mapping: Mapping[str, str]) -> bool:
    """Names alone may deceive: a text may stand in a column called `conversation`, reasoning beside a prompt."""
    match kind:
        case "messages":
            return row[mapping["messages"]] is None or isinstance(opened(row[mapping["messages"]]), list)
        case "labelled":
            return opened(row[mapping["label"]]) in (True, False)
        case "prompt_completion":
            return "reasoning" not in find_columns(row)
        case "text":
            return isinstance(row[mapping["text"]], str)
        case _:
            return True


def _kind_of_chat(row: Mapping[str, Any], mapping: dict[str, str]) -> tuple[Format, dict[str, str]]:
    turns = opened(row[mapping["messages"]])
    first = next(iter(turns or ()), None)
    if isinstance(first, dict) and "from" in first:
        return "sharegpt", find_columns(row, "sharegpt")
    if first is None and _plain(mapping["messages"]).startswith("conversation"):
        return "sharegpt", find_columns(row, "sharegpt")
    return "messages", mapping


def used(kind: str, mapping: Mapping[str, str]) -> frozenset[str]:
    """The columns that are read."""
    return frozenset(mapping.values()) or frozenset({kind})


def convert(row: object, kind: Format, mapping: Mapping[str, str]) -> Row:
    """One parsed JSON value as a canonical row. Raises `RowError`."""
    if not isinstance(row, dict):
        raise RowError(
            "not_an_object", 'The line is JSON but not an object. Each line must look like {"messages": […]}.'
        )
    found = _READERS[kind](row, mapping)
    side = side_of(row.get(mapping["split"])) if "split" in mapping else ""
    return found | {"split": side} if side else found


def checked_row(row: object) -> Row:
    """A row that was typed or sent, canonical: by the very way of a row of a file. Raises `RowError`."""
    is_text = isinstance(row, dict) and "messages" not in row and "text" in row
    kind: Format = "text" if is_text else "messages"
    return convert(row, kind, {field.name: field.name for field in FIELDS[kind]})


def _chat(row: Row, mapping: Mapping[str, str]) -> Row:
    messages = opened(row.get(mapping.get("messages", "messages")))
    turns = read_turns(to_messages(messages))
    if turns[0]["role"] != "system":
        turns = [*columns.system_turn(row, mapping), *turns]
    tools = read_tools(row.get(mapping.get("tools", "tools")))
    return {"messages": check_conversation(turns)} | ({"tools": tools} if tools else {})


_READERS: dict[Format, Callable[[Row, Mapping[str, str]], Row]] = {
    "messages": _chat,
    "sharegpt": _chat,
    "alpaca": columns.alpaca,
    "prompt_completion": columns.prompt_completion,
    "columns": columns.question_and_answer,
    "text": columns.plain_text,
    "preference": pairs.preference,
    "labelled": pairs.labelled,
}
