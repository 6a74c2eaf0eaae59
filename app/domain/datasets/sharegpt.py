"""ShareGPT: `conversations` of `from` and `value`, with role names of its own. Pure."""

from __future__ import annotations

from app.domain.datasets.refusals import Row, RowError

#: A role of such a file -> the role that is kept.
ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "system": "system",
    "observation": "tool",
    "tool": "tool",
    "tool_response": "tool",
    "function_response": "tool",
    "ipython": "tool",
}
_CALLS = frozenset({"function_call", "tool_call", "function-call"})


def to_messages(turns: object) -> object:
    """The same list with role and content; what is no list of turns is given back as it is. Raises `RowError`."""
    if not isinstance(turns, list):
        return turns
    return [_message(turn, number) for number, turn in enumerate(turns, start=1)]


def _message(turn: object, number: int) -> object:
    if not isinstance(turn, dict) or "from" not in turn:
        return turn
    rest: Row = {key: value for key, value in turn.items() if key not in {"from", "value"}}
    name, value = turn["from"], turn.get("value")
    if isinstance(name, str) and name in _CALLS:
        return rest | _call(value, number)
    if not isinstance(name, str) or name not in ROLES:
        message = (
            f"The role of turn {number} is {f'`{name}`'[:60]}. Use human, gpt, system, function_call or observation."
        )
        raise RowError("unknown_role", message)
    return rest | {"role": ROLES[name], "content": value}


def _call(value: object, number: int) -> Row:
    if not value:
        raise RowError("bad_tool_call", f"Turn {number} is a call of a tool, and says nothing.")
    return {"role": "assistant", "content": "", "tool_calls": value}
