"""Rows in a list: the question, the answer, and where a text that is looked for stands."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from app.domain.datasets.refusals import Row
from app.domain.datasets.row_search import texts_of
from app.web.render import translate as _

#: Characters of a text that a line shows, and of what comes before a hit.
SHOWN, BEFORE = 240, 60
#: (`hit` or empty, text)
Parts = list[tuple[str, str]]


@dataclass(frozen=True)
class RowLine:
    """A row of the list. `elsewhere`: the hit, where it stands neither in the question nor in the answer."""

    number: int
    asked: Parts
    answered: Parts
    elsewhere: Parts
    #: train, validation or test, where the row says so itself.
    side: str = ""


def row_lines(rows: Iterable[tuple[int, Row]], text: str = "") -> list[RowLine]:
    """Rows with their 0-based numbers; hits of `text` are marked."""
    return [_line(number + 1, row, text) for number, row in rows]


def _line(number: int, row: Row, text: str) -> RowLine:
    turns = [turn for name in ("messages", "prompt", "chosen", "completion") for turn in row.get(name) or ()]
    asked = next((turn["content"] for turn in turns if turn["role"] == "user"), row.get("text", ""))
    answered = next((turn["content"] for turn in reversed(turns) if turn["role"] == "assistant"), "")
    parts = [_parts(asked, text), _parts(answered, text)]
    seen = not text or any(kind for each in parts for kind, _text in each)
    others = () if seen else texts_of(row)
    elsewhere = next((found for each in others if len(found := _parts(each, text)) > 1), [])
    untold = [("", _("Row %(n)s", n=number))]
    return RowLine(number, parts[0] if asked.strip() else untold, parts[1], elsewhere, row.get("split", ""))


def _parts(said: str, text: str) -> Parts:
    hit = re.search(re.escape(text), said, re.IGNORECASE) if text else None
    if hit is None:
        return [("", _cut(said))]
    first = max(0, hit.start() - BEFORE)
    head = ("…" if first else "") + said[first : hit.start()]
    return [("", head), ("hit", hit.group()), ("", _cut(said[hit.end() :]))]


def _cut(said: str) -> str:
    return said if len(said) <= SHOWN else said[:SHOWN] + "…"
