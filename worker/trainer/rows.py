"""Canonical rows as they lie in the job folder: one JSON object per line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from worker.child import JobError

_THINK = re.compile(r"\A\s*<think>(.*?)(?:</think>\s*|\Z)", re.DOTALL)


class Message(TypedDict):
    """One turn. `reasoning` and `weight` stand on assistant turns only."""

    role: str
    content: str
    reasoning: NotRequired[str]
    tool_calls: NotRequired[list[dict[str, Any]]]
    tool_call_id: NotRequired[str]
    weight: NotRequired[int]


class Row(TypedDict):
    """One conversation, with the tools it may call; or a `text`, learned as a whole."""

    messages: NotRequired[list[Message]]
    text: NotRequired[str]
    tools: NotRequired[list[dict[str, Any]]]


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of `path` in order; none when the file is not there. Raises `json.JSONDecodeError`."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _checked(json.loads(line), path.name, number)


def _checked(row: Any, name: str, number: int) -> Row:
    """The runner writes canonical rows; a person who starts the trainer by hand may not have."""
    if isinstance(row, dict) and isinstance(row.get("text"), str):
        return cast("Row", row)
    if isinstance(row, dict) and row.get("messages") and all("role" in message for message in row["messages"]):
        return cast("Row", row)
    raise JobError(
        "bad_data",
        f'Line {number} of {name} is no conversation: {{"messages": [{{"role": …, "content": …}}, …]}}.',
        "Upload the file as a data set: it is brought into this form there.",
    )


def split_reasoning(text: str) -> tuple[str, str]:
    """`<think>…</think>` at the head of `text` and the rest, both without the tags; an unclosed block takes all."""
    found = _THINK.match(text)
    if not found:
        return "", text
    return found[1].strip("\n"), text[found.end() :]


def with_reasoning(reasoning: str, content: str) -> str:
    """The inverse: an assistant turn's text as reasoning models write it."""
    return f"<think>\n{reasoning}\n</think>\n\n{content}"
