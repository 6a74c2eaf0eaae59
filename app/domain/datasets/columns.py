"""Rows of columns: question and answer, Alpaca, prompt and completion, plain text. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.datasets.reasoning import split_reasoning
from app.domain.datasets.refusals import Row, RowError
from app.domain.datasets.tooling import opened, read_tools
from app.domain.datasets.turns import check_conversation, read_turns


def cell(row: Row, mapping: Mapping[str, str], field: str) -> str:
    """The text of a column; empty when there is none. Raises `RowError`."""
    column = mapping.get(field)
    value = None if column is None else row.get(column)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return str(value)
    raise RowError("not_text", f"The column `{column}` is not text."[:200])


def needed(row: Row, mapping: Mapping[str, str], field: str, code: str) -> str:
    """Likewise, of a column that must say something. Raises `RowError`."""
    text = cell(row, mapping, field)
    if not text.strip():
        raise RowError(code, f"The column `{mapping.get(field, field)}` is missing or empty."[:200])
    return text


def system_turn(row: Row, mapping: Mapping[str, str]) -> list[Row]:
    """The system prompt as a turn, if there is one."""
    text = cell(row, mapping, "system")
    return [{"role": "system", "content": text}] if text.strip() else []


def answer_turn(row: Row, mapping: Mapping[str, str], field: str) -> Row:
    """The answer with its reasoning. Raises `RowError`."""
    text = needed(row, mapping, field, "empty_answer")
    content, reasoning = split_reasoning(text, cell(row, mapping, "reasoning"))
    if not content.strip():
        raise RowError("empty_answer", f"The column `{mapping[field]}` holds reasoning and no answer."[:200])
    turn: Row = {"role": "assistant", "content": content}
    return turn | ({"reasoning": reasoning.strip()} if reasoning.strip() else {})


def question_and_answer(row: Row, mapping: Mapping[str, str]) -> Row:
    """Question, reasoning, answer, system."""
    question = needed(row, mapping, "question", "empty_question")
    user: Row = {"role": "user", "content": question}
    return {"messages": [*system_turn(row, mapping), user, answer_turn(row, mapping, "answer")]}


def alpaca(row: Row, mapping: Mapping[str, str]) -> Row:
    """Instruction and input make the question; `history` holds the pairs before it."""
    instruction = needed(row, mapping, "instruction", "empty_question")
    added = cell(row, mapping, "input")
    question = f"{instruction}\n{added}" if added.strip() else instruction
    user: Row = {"role": "user", "content": question}
    history = _history(row.get(mapping.get("history", "history")))
    return {"messages": [*system_turn(row, mapping), *history, user, answer_turn(row, mapping, "output")]}


def _history(history: object) -> list[Row]:
    turns: list[Row] = []
    pairs = opened(history) or []
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) and text for text in pair):
            raise RowError("bad_history", "`history` must be a list of pairs: [question, answer].")
        content, reasoning = split_reasoning(pair[1])
        said: Row = {"role": "assistant", "content": content}
        turns += [{"role": "user", "content": pair[0]}, said | ({"reasoning": reasoning} if reasoning else {})]
    return turns


def prompt_completion(row: Row, mapping: Mapping[str, str]) -> Row:
    """Texts, or lists of turns. Only the completion is learned, so answers within the prompt weigh nothing."""
    prompt = side(row, mapping, "prompt", "user", "empty_question")
    completion = side(row, mapping, "completion", "assistant", "empty_answer")
    asked = [turn | {"weight": 0} if turn["role"] == "assistant" else turn for turn in prompt]
    turns = [*([] if asked[0]["role"] == "system" else system_turn(row, mapping)), *asked, *completion]
    tools = read_tools(row.get(mapping.get("tools", "tools")))
    return {"messages": check_conversation(turns)} | ({"tools": tools} if tools else {})


def side(row: Row, mapping: Mapping[str, str], field: str, role: str, code: str) -> list[Row]:
    """A column that holds a text, said by `role`, or a list of turns. Raises `RowError`."""
    value = row.get(mapping.get(field, field))
    turns = opened(value)
    if isinstance(turns, list) and (turns is value or any(isinstance(turn, dict) for turn in turns)):
        return read_turns(turns)
    return read_turns([{"role": role, "content": needed(row, mapping, field, code)}])


def plain_text(row: Row, mapping: Mapping[str, str]) -> Row:
    """A text that is learned as a whole."""
    return {"text": needed(row, mapping, "text", "empty_text")}
