"""One turn of a conversation, and what a conversation must have. Pure."""

from __future__ import annotations

from app.domain.datasets.parts import Content, read_content
from app.domain.datasets.reasoning import split_reasoning
from app.domain.datasets.refusals import Row, RowError
from app.domain.datasets.tooling import read_calls

#: A role of a file -> the role that is kept.
ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_REASONING = ("reasoning_content", "reasoning", "thinking")
#: Names that 0 or 1 goes by, which says whether a turn is learned.
_WEIGHTS = ("weight", "loss_weight", "loss", "train")


def read_turns(messages: object) -> list[Row]:
    """A list of turns with role and content. Raises `RowError`."""
    if not isinstance(messages, list) or not messages:
        raise RowError(
            "no_messages", "`messages` is missing or empty. Give a list of turns, each with role and content."
        )
    return [read_turn(message, number) for number, message in enumerate(messages, start=1)]


def check_conversation(turns: list[Row]) -> list[Row]:
    """The same turns; there must be a question, an answer, and something to learn. Raises `RowError`."""
    answers = [turn for turn in turns if turn["role"] == "assistant"]
    if not answers:
        raise RowError(
            "no_assistant", "No turn has the role `assistant`, so there is nothing to learn. Add the answer."
        )
    if all(turn["role"] in {"assistant", "system"} for turn in turns):
        raise RowError("no_user", "No turn has the role `user`. Add the question that the answer belongs to.")
    if all(turn.get("weight", 1) == 0 for turn in answers):
        raise RowError("nothing_learned", "Every answer has the weight 0, so there is nothing to learn.")
    return turns


def read_turn(message: object, number: int) -> Row:
    """One turn, the `number`th. Raises `RowError`."""
    if not isinstance(message, dict):
        raise RowError("bad_turn", f"Turn {number} is not an object with role and content.")
    role, content = ROLES.get(str(message.get("role"))), message.get("content")
    if role and len(message) == 2 and isinstance(content, str) and content.strip() and "think>" not in content:
        return {"role": role, "content": content}  # nearly all of them, so it is worth a way of its own
    return _read_turn(message, number)


def _read_turn(message: Row, number: int) -> Row:
    role = _role(message.get("role"), number)
    calls = message.get("tool_calls") or message.get("function_call")
    content = read_content(message.get("content"), number, optional=bool(calls) or role == "tool")
    turn: Row = {"role": role}
    if role == "assistant":
        _put_assistant(turn, message, content, number)
    elif content.reasoning or content.calls:
        raise RowError("not_text", f"Turn {number} ({role}) has reasoning or calls, which only an assistant has.")
    turn["content"] = content.text
    if role != "tool" and not content.text.strip() and "tool_calls" not in turn:
        said = f"The content of turn {number} ({role}) is empty. Fill it in or remove the row."
        raise RowError("empty_content", said)
    if isinstance(message.get("tool_call_id"), str):
        turn["tool_call_id"] = message["tool_call_id"]
    return turn


def _role(role: object, number: int) -> str:
    if isinstance(role, str) and role in ROLES:
        return ROLES[role]
    given = f"`{role}`"[:60] if role is not None else "missing"
    raise RowError("unknown_role", f"The role of turn {number} is {given}. Use system, user, assistant or tool.")


def _put_assistant(turn: Row, message: Row, content: Content, number: int) -> None:
    reasoning = next((message[name] for name in _REASONING if message.get(name)), "") or content.reasoning
    if not isinstance(reasoning, str):
        raise RowError("bad_reasoning", f"The reasoning of turn {number} is not text.")
    content.text, reasoning = split_reasoning(content.text, reasoning, f"Turn {number}")
    if reasoning.strip():
        turn["reasoning"] = reasoning.strip()
    calls = read_calls(message.get("tool_calls") or message.get("function_call"), number)
    calls += [call for said in content.calls for call in read_calls(said, number)]
    if calls:
        turn["tool_calls"] = calls
    weight = next((message[name] for name in _WEIGHTS if message.get(name) is not None), None)
    if weight is not None:
        turn["weight"] = _weight(weight, number)


def _weight(weight: object, number: int) -> int:
    if isinstance(weight, int | float) and weight in (0, 1):
        return int(weight)
    raise RowError("bad_weight", f"The weight of turn {number} is not 0 or 1.")
