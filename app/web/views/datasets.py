"""Data sets as pages show them: words, badges, bubbles."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec

from app.core.storage import LocalStorage
from app.domain.datasets.formats import NOT_TRAINED, Row, convert, detect
from app.domain.datasets.models import Dataset, DatasetProblem, DatasetState
from app.domain.jobs.models import Job
from app.domain.jobs.states import LIVE, JobState
from app.web import filters
from app.web.render import translate as _
from app.web.render import translate_many

HEAD_BYTES = 256_000
FIRST_ROWS = 50
#: The parts of a canonical row that are lists of turns.
_LISTS = ("messages", "prompt", "chosen", "rejected", "completion")


@dataclass(frozen=True)
class DatasetView:
    """A data set and the sentence that says what it is."""

    row: Dataset
    sentence: str
    intake: Job | None

    @property
    def is_checking(self) -> bool:
        return self.row.state == DatasetState.CHECKING

    @property
    def is_ready(self) -> bool:
        return self.row.state == DatasetState.READY

    @property
    def needs_choice(self) -> bool:
        return self.row.state == DatasetState.NEEDS_CHOICE and self.row.row_count > 0

    @property
    def intake_failed(self) -> bool:
        """The check itself broke (its worker died, say), so the file was never understood."""
        return self.is_checking and self.intake is not None and self.intake.job_state not in LIVE

    @property
    def badge(self) -> str:
        """State of the `badge` macro."""
        if self.is_checking and self.intake is not None:
            waits = self.intake.job_state == JobState.QUEUED
            return "failed" if self.intake_failed else "queued" if waits else "checking"
        return "problems" if self.row.state == DatasetState.NEEDS_CHOICE else self.row.state

    @property
    def progress(self) -> dict[str, Any]:
        """Arguments of the `progress` macro while it is checked."""
        job = self.intake
        if job is None or job.job_state == JobState.QUEUED:
            return {"done": None, "total": None, "text": _("Waiting for a worker"), "kind": "halt"}
        done, total = filters.filesize(job.phase_done or 0), filters.filesize(self.row.size)
        said = _("%(done)s of %(total)s read", done=done, total=total)
        return {"done": job.phase_done, "total": job.phase_total, "text": said}


def dataset_view(dataset: Dataset, intake: Job | None = None) -> DatasetView:
    """The data set with its words."""
    return DatasetView(dataset, _sentence(dataset), intake)


def _sentence(dataset: Dataset) -> str:
    if dataset.state == DatasetState.CHECKING:
        return _("Every line of %(file)s is being read and checked.", file=dataset.filename)
    if dataset.state == DatasetState.FAILED:
        return dataset.error or _("This file could not be read.")
    rows = translate_many("%(rows)s row", "%(rows)s rows", dataset.row_count, rows=filters.number(dataset.row_count))
    parts = [_("%(rows)s in %(format)s.", rows=rows, format=_format(dataset))]
    if dataset.format in NOT_TRAINED:
        parts.append(_("They are kept as they are; training on preferences is not possible here yet."))
    if reasoned := dataset.stats.get("reasoning_rows", dataset.stats.get("with_reasoning", 0)):
        one, many = "One of them shows its reasoning.", "%(all)s of them show the reasoning before the answer."
        parts.append(translate_many(one, many, reasoned, all=filters.number(reasoned)))
    if dataset.problem_count:
        lines = translate_many(
            "%(lines)s line", "%(lines)s lines", dataset.problem_count, lines=filters.number(dataset.problem_count)
        )
        parts.append(_("%(lines)s could not be used.", lines=lines))
    return " ".join(parts)


def _format(dataset: Dataset) -> str:
    names = ", ".join(dataset.mapping.values())
    words = {
        "messages": _("the chat format (messages)"),
        "sharegpt": _("ShareGPT's format (conversations)"),
        "alpaca": _("Alpaca's format (%(names)s)", names=names),
        "prompt_completion": _("prompts and completions"),
        "columns": _("columns (%(names)s)", names=names),
        "text": _("plain text, which is learned as a whole"),
        "preference": _("preferences (a chosen and a rejected answer)"),
        "labelled": _("preferences (answers marked good or bad)"),
    }
    return words.get(dataset.format, dataset.format)


def row_view(number: int, row: Row) -> dict[str, Any]:
    """A canonical row for the `row_of_data` macro. Tool calls can hold anything, so they are made plain text."""
    lists = {name: _turns(row[name]) for name in _LISTS if name in row}
    return {"number": number + 1} | lists | {name: row[name] for name in ("text", "label") if name in row}


def _turns(turns: list[Row]) -> list[Row]:
    return [turn | {"tool_calls": [_call(call) for call in turn.get("tool_calls") or []]} for turn in turns]


def _call(call: object) -> dict[str, dict[str, str]]:
    inner = call.get("function") if isinstance(call, dict) else None
    name = inner.get("name") if isinstance(inner, dict) else "?"
    arguments = inner.get("arguments", "") if isinstance(inner, dict) else call
    said = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"function": {"name": str(name), "arguments": said}}


def problem_view(problem: DatasetProblem) -> dict[str, Any]:
    """A problem for the `problem` macro."""
    return {"line": problem.line, "message": problem.message, "code": problem.code, "excerpt": problem.excerpt}


def first_look(storage: LocalStorage, dataset: Dataset) -> dict[str, Any] | None:
    """The first rows of the uploaded file, while its check still runs; None when nothing can be said yet."""
    path = storage.ensure(dataset.source_key)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        lines = [line for line in file.read(HEAD_BYTES).splitlines() if line.strip()][:FIRST_ROWS]
    good, bad = _try_rows(lines)
    return {"rows": good[:3], "good": len(good), "bad": bad, "looked": len(lines)}


def _try_rows(lines: list[bytes]) -> tuple[list[dict[str, Any]], int]:
    good: list[dict[str, Any]] = []
    bad = 0
    for number, line in enumerate(lines):
        try:
            parsed = msgspec.json.decode(line)  # as the intake: what it refuses is counted as bad here too
            good.append(row_view(number, convert(parsed, *detect(parsed))))
        except (msgspec.DecodeError, RecursionError, ValueError, TypeError, AttributeError):
            bad += 1
    return good, bad
