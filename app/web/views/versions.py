"""Versions of a data set in words: which there are, and what is different."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from app.core.context import Context
from app.domain.datasets import service
from app.domain.datasets.models import Dataset
from app.domain.datasets.refusals import Row
from app.domain.datasets.row_search import texts_of
from app.domain.users import service as users
from app.web import filters
from app.web.render import translate as _
from app.web.render import translate_many
from app.web.views.answers import Segment, differences
from app.web.views.row_list import RowLine, row_lines

#: Changed rows that a page shows.
SHOWN = 20


@dataclass(frozen=True)
class VersionLine:
    """One version in the list."""

    row: Dataset
    words: str
    who: str
    is_this: bool


@dataclass(frozen=True)
class EditView:
    """A row before and after, the words that differ marked."""

    number: int
    was_number: int
    before: list[Segment]
    after: list[Segment]


def version_lines(session: Session, dataset: Dataset) -> list[VersionLine]:
    """All versions that are there, newest first; empty where there is only one. Two queries."""
    found = service.family(session, dataset)
    if len(found) < 2:
        return []
    names = users.names(session, {each.made_by for each in found if each.made_by})
    return [
        VersionLine(each, change_words(each), names.get(each.made_by or 0, ""), each.id == dataset.id) for each in found
    ]


def change_words(dataset: Dataset) -> str:
    """What is different from the version before it, in a few words."""
    changes = dataset.changes
    gone, edited = int(changes.get("excluded", 0)), len(changes.get("edited", ()))
    kind = changes.get("kind", "")
    whole = {
        "": _("as uploaded"),
        "reread": _("the file read in another way"),
        "restored": _("taken up again from an earlier one"),
    }
    if kind in whole:
        return whole[kind]
    match kind:
        case "edited":
            said = translate_many("%(num)s row edited", "%(num)s rows edited", edited, num=filters.number(edited))
            return _("%(what)s, %(num)s left out", what=said, num=filters.number(gone)) if gone else said
        case "matching":
            one, many = "%(num)s row that holds “%(text)s” left out", "%(num)s rows that hold “%(text)s” left out"
            return translate_many(one, many, gone, num=filters.number(gone), text=str(changes.get("text", ""))[:60])
        case "copies":
            one, many = "%(num)s exact copy left out", "%(num)s exact copies left out"
            return translate_many(one, many, gone, num=filters.number(gone))
        case _:
            return translate_many("%(num)s row left out", "%(num)s rows left out", gone, num=filters.number(gone))


def change_view(ctx: Context, dataset: Dataset, parent: Dataset | None) -> dict[str, Any]:
    """Edited rows before and after, and rows that were left out, as far as the parent is still there."""
    if parent is None or not parent.rows_key or not dataset.rows_key:
        return {"edits": [], "gone": []}
    pairs = dataset.changes.get("edited", [])[:SHOWN]
    edits = [_edit(ctx, parent, dataset, old, new) for old, new in pairs]
    gone = [(number, row) for number in dataset.changes.get("gone", [])[:SHOWN] for row in _row(ctx, parent, number)]
    return {"edits": edits, "gone": _lines(gone)}


def _lines(rows: list[tuple[int, Row]]) -> list[RowLine]:
    return row_lines(rows)


def _row(ctx: Context, dataset: Dataset, number: int) -> list[Row]:
    return service.preview_rows(ctx.storage, dataset, number, 1)


def _edit(ctx: Context, parent: Dataset, dataset: Dataset, old: int, new: int) -> EditView:
    before, after = (_said(_row(ctx, parent, old)), _said(_row(ctx, dataset, new)))
    left, right = differences(before, after)
    return EditView(new + 1, old + 1, left, right)


def _said(rows: list[Row]) -> str:
    """All texts of a row, one below the other, each turn with its role."""
    turns = [turn for row in rows for turn in row.get("messages") or ()]
    if not turns:
        return "\n\n".join(text for row in rows for text in texts_of(row))
    parts = []
    for turn in turns:
        weight = f" ({_('not trained on')})" if turn.get("weight") == 0 else ""
        said = "\n".join(text for text in texts_of({"messages": [turn]}) if text)
        parts.append(f"{turn['role']}{weight}: {said}")
    return "\n\n".join(parts)
