"""How a file is read, as a form shows it: the format, the column of each part, what is replaced, and three rows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from starlette.datastructures import FormData

from app.core.storage import LocalStorage
from app.domain.datasets.formats import FIELDS, FORMATS, Format, convert, find_columns, merged
from app.domain.datasets.models import Dataset
from app.domain.datasets.refusals import RowError
from app.domain.datasets.replacing import MOST_PAIRS, replaced
from app.domain.datasets.rereading import checked_format, checked_mapping
from app.domain.errors import InvalidError
from app.domain.jobs.models import Job
from app.web.deps import text
from app.web.render import translate as _
from app.web.views.datasets import first_values, row_view

PREVIEW_ROWS = 3


@dataclass
class MappingForm:
    """What is typed, or what holds now."""

    kind: str
    mapping: dict[str, str]
    pairs: list[tuple[str, str]]
    columns: list[str]
    samples: list[dict[str, Any]]
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> list[dict[str, Any]]:
        """Each part of the format with the columns it may be."""
        known = FIELDS.get(self.kind, ())  # type: ignore[call-overload]  # whatever was sent
        return [
            {
                "name": each.name,
                "needed": each.needed,
                "label": _part_label(each.name, each.needed),
                "column": self.mapping.get(each.name, ""),
            }
            for each in known
        ]

    @property
    def options(self) -> list[tuple[str, str]]:
        """The columns of the file."""
        return [("", _("none")), *((name, name) for name in self.columns)]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The first rows as the model will see them, each or what is wrong with it."""
        return [self._row(number, sample) for number, sample in enumerate(self.samples[:PREVIEW_ROWS])]

    def _row(self, number: int, sample: dict[str, Any]) -> dict[str, Any]:
        try:
            kind = checked_format(self.kind)
            row = convert(sample, kind, checked_mapping(kind, self.mapping))
        except (RowError, InvalidError) as exc:
            raw = json.dumps(sample, ensure_ascii=False, indent=1)
            return {"number": number + 1, "error": exc.message, "raw": raw[:2_000]}
        return row_view(number, replaced(row, [pair for pair in self.pairs if all(pair)]))


def format_options() -> list[tuple[str, str]]:
    """Every format with what it is."""
    words: dict[Format, str] = {
        "messages": _("Chat: a list of messages"),
        "sharegpt": _("ShareGPT: a list of conversations"),
        "alpaca": _("Alpaca: instruction, input, output"),
        "prompt_completion": _("Prompt and completion"),
        "columns": _("Question, reasoning, answer"),
        "text": _("Plain text"),
        "preference": _("Preferences: chosen and rejected"),
        "labelled": _("Answers marked good or bad"),
    }
    return [(kind, words[kind]) for kind in FORMATS]


def _part_label(name: str, needed: bool) -> str:  # noqa: FBT001 - one of two words
    words = {
        "messages": _("Turns"), "tools": _("Tools"), "system": _("System prompt"), "instruction": _("Instruction"),
        "input": _("Input"), "output": _("Answer"), "reasoning": _("Reasoning"), "history": _("Earlier turns"),
        "prompt": _("Prompt"), "completion": _("Completion"), "question": _("Question"), "answer": _("Answer"),
        "text": _("Text"), "chosen": _("Chosen answer"), "rejected": _("Rejected answer"), "label": _("Mark"),
        "split": _("Train or validation"),
    }  # fmt: skip
    return words[name] if needed else _("%(part)s (optional)", part=words[name])


def current(storage: LocalStorage, dataset: Dataset, intake: Job | None) -> MappingForm:
    """How the file is read now."""
    result = (intake.result if intake else None) or {}
    samples = result.get("samples") or [row for row in first_values(storage, dataset) if isinstance(row, dict)]
    columns = result.get("columns") or list(merged(samples))[:200]
    stats = dataset.stats.get("replace", [])
    pairs = [(str(what), str(by)) for what, by in stats]
    known = {what for what, _by in pairs}
    pairs += [(name, "") for name in dataset.stats.get("placeholders", {}) if name not in known][
        : MOST_PAIRS - len(pairs)
    ]
    kind = dataset.format or "columns"
    mapping = dict(dataset.mapping) or find_columns(columns, _known(kind))
    return MappingForm(kind, mapping, [*pairs, ("", "")][:MOST_PAIRS], columns, samples)


def typed(form: FormData, now: MappingForm) -> MappingForm:
    """What is typed; the columns are looked for anew where another format was chosen."""
    kind = text(form, "format")
    columns = dict(zip(map(str, form.getlist("part")), map(str, form.getlist("column")), strict=False))
    if kind != text(form, "was"):
        columns = find_columns(now.columns, _known(kind))
    pairs = [(str(what), str(by or "")) for what, by in zip_longest(form.getlist("find"), form.getlist("put")) if what]
    mapping = {part: column for part, column in columns.items() if column}
    return MappingForm(kind, mapping, [*pairs, ("", "")][: MOST_PAIRS + 1], now.columns, now.samples)


def _known(kind: str) -> Format:
    return next((each for each in FORMATS if each == kind), "columns")
