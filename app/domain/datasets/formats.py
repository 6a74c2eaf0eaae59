"""Rows of an uploaded file become canonical rows, or a problem with a code and what to do. Pure.

Canonical row: `{"messages": [{"role", "content", "reasoning"?, "tool_calls"?, "tool_call_id"?, "weight"?}], "tools"?}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

Row = dict[str, Any]
Format = Literal["messages", "columns"]

ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
#: canonical field -> names a column may have, in order of preference (compared without case, `-`, `_` and spaces).
COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "question": ("question", "prompt", "query", "instruction"),
    "reasoning": ("complexcot", "reasoning", "reasoningcontent", "cot", "chainofthought", "thinking", "thought"),
    "answer": ("response", "answer", "output", "completion"),
    "system": ("system", "systemprompt"),
}
_THINK = re.compile(r"^\s*<think>(.*?)</think>\s*(.*)$", re.DOTALL)
_SHAREGPT = "This looks like the ShareGPT format (a `conversations` list), which can't be read yet."
_CONVERT = "Convert it to `messages` (role and content), one conversation a line."


class RowError(ValueError):
    """A row that can't be used: a short code, and a sentence that says how to mend it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class FormatError(ValueError):
    """The whole file can't be read. The text says what to do."""


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", name).lower()


def find_columns(names: Iterable[str]) -> dict[str, str]:
    """canonical field -> column, for the columns that are known by name."""
    by_name = {_plain(name): name for name in reversed(list(names))}
    found = {}
    for field, wanted in COLUMN_NAMES.items():
        column = next((by_name[name] for name in wanted if name in by_name), None)
        if column is not None:
            found[field] = column
    return found


def detect(row: Mapping[str, Any]) -> tuple[Format, dict[str, str]]:
    """The format of a file by one of its rows, and the mapping of its columns. Raises `FormatError`."""
    if "messages" in row:
        return "messages", {}
    if "conversations" in row:
        raise FormatError(f"{_SHAREGPT} {_CONVERT}")
    mapping = find_columns(row)
    if "instruction" in row and "input" in row:
        message = "This looks like the Alpaca format (`instruction`, `input`, `output`), which can't be read yet."
        raise FormatError(f"{message} {_CONVERT}")
    if "question" in mapping and "answer" in mapping:
        return "columns", mapping
    columns = ", ".join(f"`{name}`" for name in list(row)[:12]) or "none"
    message = (
        f"No known format: the columns are {columns}. Use either a `messages` list (OpenAI's chat format), "
        "or the columns `Question` and `Response` (and `Complex_CoT` for the reasoning)."
    )
    raise FormatError(message)


def convert(row: object, kind: Format, mapping: Mapping[str, str]) -> Row:
    """One parsed JSON value as a canonical row. Raises `RowError`."""
    if not isinstance(row, dict):
        raise RowError(
            "not_an_object", 'The line is JSON but not an object. Each line must look like {"messages": […]}.'
        )
    return _from_messages(row) if kind == "messages" else _from_columns(row, mapping)


def _from_messages(row: Row) -> Row:
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RowError(
            "no_messages", "`messages` is missing or empty. Give a list of turns, each with role and content."
        )
    turns = [_turn(message, number) for number, message in enumerate(messages, start=1)]
    if not any(turn["role"] == "assistant" for turn in turns):
        raise RowError(
            "no_assistant", "No turn has the role `assistant`, so there is nothing to learn. Add the answer."
        )
    if not any(turn["role"] != "assistant" and turn["role"] != "system" for turn in turns):
        raise RowError("no_user", "No turn has the role `user`. Add the question that the answer belongs to.")
    out: Row = {"messages": turns}
    tools = row.get("tools")
    if tools:
        if not isinstance(tools, list):
            raise RowError("bad_tools", "`tools` must be a list of tool definitions.")
        out["tools"] = tools
    return out


def _turn(message: object, number: int) -> Row:
    if not isinstance(message, dict):
        raise RowError("bad_turn", f"Turn {number} is not an object with role and content.")
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        given = f"`{role}`"[:60] if role is not None else "missing"
        raise RowError("unknown_role", f"The role of turn {number} is {given}. Use system, user, assistant or tool.")
    turn: Row = {"role": "system" if role == "developer" else role}
    calls = message.get("tool_calls")
    content = _text(message.get("content"), number, optional=bool(calls))
    reasoning = message.get("reasoning_content") or message.get("reasoning") or ""
    if not isinstance(reasoning, str):
        raise RowError("bad_reasoning", f"The reasoning of turn {number} is not text.")
    if role == "assistant":
        content, reasoning = split_reasoning(content, reasoning)
        _put_assistant(turn, message, number, reasoning)
    turn["content"] = content
    if not content.strip() and not calls:
        raise RowError(
            "empty_content", f"The content of turn {number} ({role}) is empty. Fill it in or remove the row."
        )
    if isinstance(message.get("tool_call_id"), str):
        turn["tool_call_id"] = message["tool_call_id"]
    return turn


def _put_assistant(turn: Row, message: Row, number: int, reasoning: str) -> None:
    if reasoning.strip():
        turn["reasoning"] = reasoning.strip()
    if message.get("tool_calls"):
        turn["tool_calls"] = message["tool_calls"]
    weight = message.get("weight")
    if weight is not None:
        if weight not in (0, 1):
            raise RowError("bad_weight", f"The weight of turn {number} is not 0 or 1.")
        turn["weight"] = int(weight)


def _text(content: object, number: int, *, optional: bool) -> str:
    if isinstance(content, str):
        return content
    if content is None and optional:
        return ""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        if len(parts) == len(content) and all(isinstance(part, str) for part in parts):
            return "".join(str(part) for part in parts)
        raise RowError("not_text", f"Turn {number} has parts that are not text. Only text can be trained on.")
    raise RowError("no_content", f"Turn {number} has no content. Give a text.")


def split_reasoning(content: str, reasoning: str = "") -> tuple[str, str]:
    """`<think>…</think>` at the start of an answer becomes the reasoning: (answer, reasoning)."""
    found = None if reasoning else _THINK.match(content)
    return (found[2], found[1].strip()) if found else (content, reasoning)


def _from_columns(row: Row, mapping: Mapping[str, str]) -> Row:
    values = {field: _cell(row, column) for field, column in mapping.items()}
    if not values["question"].strip():
        raise RowError("empty_question", f"The column `{mapping['question']}` is missing or empty.")
    answer, reasoning = split_reasoning(values["answer"], values.get("reasoning", ""))
    if not answer.strip():
        raise RowError("empty_answer", f"The column `{mapping['answer']}` is missing or empty.")
    turns: list[Row] = []
    if values.get("system", "").strip():
        turns.append({"role": "system", "content": values["system"]})
    turns.append({"role": "user", "content": values["question"]})
    last: Row = {"role": "assistant", "content": answer}
    if reasoning.strip():
        last["reasoning"] = reasoning.strip()
    return {"messages": [*turns, last]}


def _cell(row: Row, column: str) -> str:
    value = row.get(column)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return str(value)
    raise RowError("not_text", f"The column `{column}` is not text.")


def sniff(head: bytes) -> str:
    """Why a file that starts with `head` can't be JSON lines, or an empty string."""
    known = {
        b"PK\x03\x04": "a ZIP archive (perhaps an Excel file)",
        b"\x1f\x8b": "a gzip file",
        b"\x28\xb5\x2f\xfd": "a zstd file",
        b"PAR1": "a Parquet file",
        b"%PDF": "a PDF",
        b"GGUF": "a GGUF model",
    }
    for magic, what in known.items():
        if head.startswith(magic):
            return f"This is {what}, not JSON lines. Upload a .jsonl file: UTF-8 text with one JSON object a line."
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "This file is UTF-16. Save it as UTF-8 and upload it again."
    if b"\x00" in head:
        return "This file is binary, not text. Upload a .jsonl file: UTF-8 text with one JSON object a line."
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        return (
            "This is one JSON array. Put each row on a line of its own, without the brackets and commas between rows."
        )
    return _sniff_table(head)


def _sniff_table(head: bytes) -> str:
    """A table is told by its first lines: none begins an object, and all have the same number of separators."""
    text = [line.strip() for line in head.removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()][:3]
    if len(text) < 2 or any(line.startswith((b"{", b'"{')) for line in text):
        return ""
    for separator, name in ((b"\t", "tabs"), (b",", "commas"), (b";", "semicolons")):
        counts = {line.count(separator) for line in text}
        if len(counts) == 1 and counts != {0}:
            return (
                f"This looks like a table with {name} (CSV), not JSON lines. Save it as JSON lines, one object a line "
                'with the columns as names; spreadsheets and pandas can (orient="records", lines=True).'
            )
    return ""
