"""The content of a turn: a text, or a list of typed parts. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.domain.datasets.refusals import RowError

_TEXTS = frozenset({"text", "input_text", "output_text", "refusal"})
_THOUGHTS = frozenset({"reasoning", "thinking", "reasoning_text", "thought"})
_CALLS = frozenset({"tool_use", "tool_call", "function_call"})
#: Where the text of a part stands, besides the name of its type.
_PLACES = ("text", "value", "content")


@dataclass
class Content:
    """What a turn says."""

    text: str = ""
    reasoning: str = ""
    calls: list[object] = field(default_factory=list)


def read_content(content: object, number: int, *, optional: bool) -> Content:
    """A text or typed parts. Raises `RowError`."""
    if isinstance(content, str):
        return Content(content)
    if content is None and optional:
        return Content()
    if isinstance(content, list) and content:
        said = Content()
        for part in content:
            _add(said, part, number)
        return said
    raise RowError("no_content", f"Turn {number} has no content. Give a text.")


def _add(said: Content, part: object, number: int) -> None:
    if isinstance(part, str):
        said.text += part
        return
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(part, dict) and kind in _TEXTS:
        said.text += _text_of(part, str(kind), number)
    elif isinstance(part, dict) and kind in _THOUGHTS:
        said.reasoning += _text_of(part, str(kind), number)
    elif isinstance(part, dict) and kind in _CALLS:
        said.calls.append(_call_of(part))
    else:
        what = f"a part of type `{kind}`"[:60] if isinstance(kind, str) else "a part without a type"
        raise RowError("not_text", f"Turn {number} has {what}. Only text can be trained on: take it out.")


def _text_of(part: dict[str, Any], kind: str, number: int) -> str:
    text = next((part[place] for place in (kind, *_PLACES) if part.get(place) is not None), None)
    if not isinstance(text, str):
        raise RowError("not_text", f"Turn {number} has a part of type `{kind}` that holds no text.")
    return text


def _call_of(part: dict[str, Any]) -> object:
    """A call as `tool_calls` would have it; what it holds is checked there."""
    if "name" not in part and "value" in part:
        return part["value"]
    call = {"name": part.get("name"), "arguments": part.get("input", part.get("arguments"))}
    return call | ({"id": part["id"]} if isinstance(part.get("id"), str) else {})
