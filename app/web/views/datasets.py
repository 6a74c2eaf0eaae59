"""Data sets as pages show them: words, badges, bubbles."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from app.core.storage import LocalStorage
from app.domain.datasets import sides
from app.domain.datasets.formats import NOT_TRAINED, Row, RowError, convert, detect, merged
from app.domain.datasets.models import Dataset, DatasetProblem, DatasetState
from app.domain.datasets.refusals import FormatError
from app.domain.files.parsing import value_of
from app.domain.files.reading import look_at, read_records
from app.domain.files.unpacking import unpacked
from app.domain.jobs.models import Job
from app.domain.jobs.states import LIVE, JobState
from app.web import filters
from app.web.render import translate as _
from app.web.render import translate_many
from app.web.views.sources import fetching_words, origin_words, parts_to_choose

#: Bytes after which a first look is over.
HEAD_BYTES = 4_000_000
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
    def is_fetching(self) -> bool:
        """Its file is still to come."""
        return self.is_checking and bool(self.row.origin) and not self.row.sha256

    @property
    def not_fetched(self) -> bool:
        """Nor will it come by itself."""
        failed = self.intake_failed or self.row.state == DatasetState.FAILED
        return failed and bool(self.row.origin) and not self.row.sha256

    @property
    def parts(self) -> list[dict[str, Any]]:
        """Among which a person has to choose."""
        return parts_to_choose(self.row) if self.row.state == DatasetState.NEEDS_PART else []

    @property
    def origin(self) -> str:
        """Where it was fetched from."""
        return origin_words(self.row)

    @property
    def is_ready(self) -> bool:
        return self.row.state == DatasetState.READY

    @property
    def needs_choice(self) -> bool:
        return self.row.state == DatasetState.NEEDS_CHOICE and self.row.row_count > 0

    @property
    def can_be_mapped(self) -> bool:
        """Its rows can be read, and it takes a person to say what they mean."""
        return self.row.state == DatasetState.FAILED and bool(self.intake and self.intake.result)

    @property
    def sides(self) -> str:
        """What the rows themselves say of where they belong."""
        found = sides.counts(self.row.stats)
        said = {name: filters.number(found.get(name, 0)) for name in sides.SIDES}
        return _("The rows say: %(train)s train, %(validation)s validate, %(test)s test.", **said) if found else ""

    @property
    def placeholders(self) -> str:
        """Names in double braces that stand in the rows."""
        return ", ".join(self.row.stats.get("placeholders", {}))

    @property
    def intake_failed(self) -> bool:
        """The check itself broke (its worker died, say), so the file was never understood."""
        return self.is_checking and self.intake is not None and self.intake.job_state not in LIVE

    @property
    def badge(self) -> str:
        """State of the `badge` macro."""
        if self.is_checking and self.intake is not None:
            waits = self.intake.job_state == JobState.QUEUED
            going = "fetching" if self.is_fetching else "checking"
            return "failed" if self.intake_failed else "queued" if waits else going
        waits_for_us = {DatasetState.NEEDS_CHOICE, DatasetState.NEEDS_PART}
        return "problems" if self.row.state in waits_for_us else self.row.state

    @property
    def progress(self) -> dict[str, Any]:
        """Arguments of the `progress` macro while it is checked."""
        job = self.intake
        if job is None or job.job_state == JobState.QUEUED:
            return {"done": None, "total": None, "text": _("Waiting for a worker"), "kind": "halt"}
        if self.is_fetching:
            return self._fetched(job)
        done, total = filters.filesize(job.phase_done or 0), filters.filesize(self.row.size)
        said = _("%(done)s of %(total)s read", done=done, total=total)
        return {"done": job.phase_done, "total": job.phase_total, "text": said}

    @staticmethod
    def _fetched(job: Job) -> dict[str, Any]:
        if job.phase_done is None:
            return {"done": None, "total": None, "text": _("Asking where it lies")}
        done, total = filters.filesize(job.phase_done), filters.filesize(job.phase_total or 0)
        of = _("%(done)s of %(total)s fetched", done=done, total=total)
        said = of if job.phase_total else _("%(done)s fetched", done=done)
        return {"done": job.phase_done, "total": job.phase_total, "text": said}


def dataset_view(dataset: Dataset, intake: Job | None = None) -> DatasetView:
    """The data set with its words."""
    return DatasetView(dataset, _sentence(dataset), intake)


def _sentence(dataset: Dataset) -> str:
    if dataset.state == DatasetState.CHECKING and not dataset.is_read_from_file:
        return _("The rows of this version are being written.")
    if dataset.state == DatasetState.NEEDS_PART:
        return _("%(where)s was found on the Hub.", where=origin_words(dataset))
    if dataset.state == DatasetState.CHECKING and dataset.origin and not dataset.sha256:
        return fetching_words(dataset)
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
    try:
        values, looked = _values(path, dataset.filename)
        rows = _try_rows(values)
    except (FormatError, OSError):
        return None
    return {"rows": rows[:3], "good": len(rows), "looked": looked}


def first_values(storage: LocalStorage, dataset: Dataset) -> list[object]:
    """The first rows as they stand in the file; none where they can't be read here."""
    path = storage.ensure(dataset.source_key)
    try:
        return _values(path, dataset.filename)[0]
    except (FormatError, OSError):
        return []


def _values(path: Path, filename: str) -> tuple[list[object], int]:
    """As the intake reads them: what it refuses is counted as bad here too."""
    values: list[object] = []
    looked = 0
    with unpacked(path) as stream:
        kind = look_at(stream, filename)
        for record in islice(read_records(stream, kind), FIRST_ROWS) if kind.shape != "parquet" else ():
            looked += 1
            with suppress(RowError):
                values.append(value_of(record))
            if stream.position > HEAD_BYTES:
                break
    return values, looked


def _try_rows(values: list[object]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    kind, mapping = detect(merged(values))
    for number, value in enumerate(values):
        with suppress(RowError):
            rows.append(row_view(number, convert(value, kind, mapping)))
    return rows
