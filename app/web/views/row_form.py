"""A row as a form: its turns, field by field, checked by the very function that an intake uses."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.datastructures import FormData

from app.domain.datasets.formats import checked_row
from app.domain.datasets.refusals import Row, RowError
from app.domain.datasets.turns import read_turn
from app.web.render import translate as _

#: More than this is changed in the file, and uploaded again.
MOST_TURNS, MOST_CHARACTERS = 40, 150_000
#: Places of a turn whose text a form holds.
_PLACES = ("role", "content", "reasoning", "calls", "call_id", "weight")
#: The place that a problem of a turn belongs to, if not its content.
_PLACE_OF = {"unknown_role": "role", "bad_tool_call": "calls", "bad_reasoning": "reasoning", "bad_weight": "weight"}


@dataclass
class TurnForm:
    """A turn as it is typed, with what is wrong by place."""

    role: str = ""
    content: str = ""
    reasoning: str = ""
    calls: str = ""
    call_id: str = ""
    weight: str = ""
    drop: bool = False
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def is_blank(self) -> bool:
        """The place for one more turn, left empty."""
        return not (self.content.strip() or self.reasoning.strip() or self.calls.strip())

    def row(self) -> Row:
        """As a file would have it. Raises `RowError`."""
        turn: Row = {"role": self.role, "content": self.content}
        if self.reasoning.strip():
            turn["reasoning"] = self.reasoning
        if self.calls.strip():
            turn["tool_calls"] = _json(self.calls, "bad_tool_call")
        if self.call_id:
            turn["tool_call_id"] = self.call_id
        if self.weight:
            turn["weight"] = int(self.weight) if self.weight in {"0", "1"} else self.weight
        return turn


@dataclass
class RowForm:
    """`text` is None for a conversation; `error`: what is wrong with the row as a whole."""

    turns: list[TurnForm] = field(default_factory=list)
    text: str | None = None
    tools: str = ""
    tools_error: str = ""
    error: str = ""
    #: Empty: it says nothing.
    split: str = ""

    @property
    def errors(self) -> list[tuple[str, str]]:
        """Items of the `error_summary` macro."""
        found = [(f"{place}-{k}", said) for k, turn in enumerate(self.turns, 1) for place, said in turn.errors.items()]
        whole = [("text" if self.text is not None else "content-1", self.error)] if self.error else []
        return [*found, *([("tools", self.tools_error)] if self.tools_error else []), *whole]

    def checked(self) -> Row | None:
        """The canonical row; None when something is wrong, which then stands beside its field."""
        if self.text is not None:
            return self._checked({"text": self.text})
        raw: Row = {"messages": [self._turn(number, turn) for number, turn in enumerate(self._kept, start=1)]}
        if self.tools.strip():
            try:
                raw["tools"] = _json(self.tools, "bad_tools")
            except RowError as exc:
                self.tools_error = exc.message
        return None if self.errors else self._checked(raw)

    @property
    def _kept(self) -> list[TurnForm]:
        return [turn for turn in self.turns if not turn.drop and not (turn.is_blank and not turn.role)]

    @staticmethod
    def _turn(number: int, turn: TurnForm) -> Row:
        try:
            row = turn.row()
            read_turn(row, number)
        except RowError as exc:
            turn.errors[_PLACE_OF.get(exc.code, "content")] = exc.message
            return {}
        return row

    def _checked(self, raw: Row) -> Row | None:
        try:
            return checked_row(raw | {"split": self.split})
        except RowError as exc:
            if exc.code == "bad_tools":
                self.tools_error = exc.message
            else:
                self.error = exc.message
            return None


def _json(text: str, code: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise RowError(code, _("This is no JSON: %(why)s", why=str(exc)[:120])) from exc


def can_be_edited(row: Row) -> str:
    """Why not; empty when it can."""
    if "messages" not in row and "text" not in row:
        return _("Preferences can't be edited here. Change the file, and upload it again.")
    if len(row.get("messages", ())) > MOST_TURNS or len(json.dumps(row, ensure_ascii=False)) > MOST_CHARACTERS:
        return _("This row is too long for a form. Change the file, and upload it again; or leave the row out.")
    return ""


def of_row(row: Row) -> RowForm:
    """The form of a row as it is, with a place for one more turn."""
    if "text" in row:
        return RowForm(text=row["text"], split=row.get("split", ""))
    return RowForm(
        [*(_of_turn(turn) for turn in row["messages"]), TurnForm()],
        tools=_written(row.get("tools")),
        split=row.get("split", ""),
    )


def _of_turn(turn: Row) -> TurnForm:
    return TurnForm(
        role=turn["role"],
        content=turn["content"],
        reasoning=turn.get("reasoning", ""),
        calls=_written(turn.get("tool_calls")),
        call_id=turn.get("tool_call_id", ""),
        weight=str(turn["weight"]) if "weight" in turn else "",
    )


def _written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) if value else ""


def typed(form: FormData, row: Row) -> RowForm:
    """What is typed; a text that a browser only gave other line ends is as it was."""
    was = of_row(row)
    split = str(form.get("split", was.split))
    if was.text is not None:
        return RowForm(text=_as_it_was(str(form.get("said", "")), was.text), split=split)
    columns = {place: [str(value) for value in form.getlist(place)] for place in _PLACES}
    dropped = {str(value) for value in form.getlist("drop")}
    turns = []
    for k in range(min(len(columns["content"]), MOST_TURNS + 2)):
        old = was.turns[k] if k < len(was.turns) else TurnForm()
        values: dict[str, Any] = {
            name: _as_it_was(given[k] if k < len(given) else "", getattr(old, name)) for name, given in columns.items()
        }
        turns.append(replace(old, **values, drop=str(k + 1) in dropped))
    if turns and not turns[-1].is_blank:
        turns.append(TurnForm())
    return RowForm(turns, tools=_as_it_was(str(form.get("tools", "")), was.tools), split=split)


def _as_it_was(typed_text: str, old: str) -> str:
    """A browser writes CRLF, and leaves out a line break at the very start."""
    plain = typed_text.replace("\r\n", "\n")
    known = old.replace("\r\n", "\n").replace("\r", "\n")
    return old if plain in {known, known.removeprefix("\n")} else plain
