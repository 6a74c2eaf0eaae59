"""Runs beside each other: which ones, their numbers with the best marked, and only what their settings differ in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.domain.comparison import HELD_OUT, Run, best
from app.domain.datasets.models import Dataset
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.launch import split_of
from app.domain.preferences.service import Prices
from app.web import filters
from app.web.deps import MAX_ID
from app.web.render import translate as _
from app.web.views.answers import side_view
from app.web.views.chosen import shown
from app.web.views.fields import BY_NAME
from app.web.views.jobs import JobView, job_view
from app.web.views.numbers import LESS_IS_BETTER, gpu_hours, score_words, write_score

#: As many as there are colours for.
LEAST, MOST = 2, 8
#: Read of an address at most.
_MOST_READ = 50


def numbers_of(given: Iterable[str]) -> list[int]:
    """Numbers of jobs as an address gives them, `1,2,3`, or one by one as a form does. What is none is left out."""
    parts = re.findall(r"(?<![^,\s])[0-9]{1,10}(?![^,\s])", ",".join(part[:1000] for part in given)[:1000])
    numbers = dict.fromkeys(int(part) for part in parts if 0 < int(part) <= MAX_ID)
    return list(numbers)[:_MOST_READ]


def address(numbers: Iterable[int]) -> str:
    """Where these are compared."""
    return "/compare?jobs=" + ",".join(str(number) for number in numbers)


@dataclass
class Column:
    """One run. `mark`: the number of its colour, from 1 on."""

    mark: int
    run: Run
    view: JobView
    #: Name of its data set.
    rows: str
    time: str = "–"
    gpu_hours: str = ""
    cost: str = ""
    best: bool = False
    #: Where the others are compared without it; empty where too few would be left.
    without: str = ""
    scores: list[dict[str, Any]] = field(default_factory=list)

    @property
    def id(self) -> int:
        return self.run.job.id or 0

    @property
    def name(self) -> str:
        return self.run.job.name


def columns(runs: Sequence[Run], prices: Prices) -> list[Column]:
    """Each run with its numbers."""
    found = [_column(mark, run, prices) for mark, run in enumerate(runs, start=1)]
    lowest = best(runs)
    for column in found:
        others = [other.id for other in found if other is not column]
        column.without = address(others) if len(others) >= LEAST else ""
        column.best = column.run is lowest
    return found


def _column(mark: int, run: Run, prices: Prices) -> Column:
    column = Column(mark, run, job_view(run.job), run.dataset.title if run.dataset else _("data set not shown"))
    if run.busy:
        column.time = filters.duration(run.busy)
    for tile in gpu_hours(run.job, run.busy, run.gpu, prices):
        column.gpu_hours, column.cost = tile["value"], tile["note"]
    return column


def dataset_words(dataset: Dataset | None) -> str:
    """Which rows exactly: the name may stay when the bytes change."""
    if dataset is None:
        return _("not shown to you, or gone")
    rows = filters.number(dataset.row_count)
    return _("%(name)s · %(n)s rows · %(hash)s", name=dataset.title, n=rows, hash=dataset.sha256[:8])


@dataclass(frozen=True)
class Line:
    """A line over all runs: a score or a setting. `cells`: text, and whether it is the best."""

    label: str
    cells: list[dict[str, Any]]


def score_lines(found: Sequence[Column]) -> list[Line]:
    """Each score of any of the runs: before, after, the best of those that ended well."""
    names = sorted({name for column in found for name in column.run.scores} | _early(found))
    return [Line(score_words(name), _cells(name, found)) for name in names]


def _early(found: Sequence[Column]) -> set[str]:
    return {HELD_OUT} if any(column.run.last_look is not None for column in found) else set()


def _cells(name: str, found: Sequence[Column]) -> list[dict[str, Any]]:
    cells = [_cell(name, column.run) for column in found]
    values = [cell["number"] for cell in cells if cell["judged"]]
    top = (min if name in LESS_IS_BETTER else max)(values) if len(set(values)) > 1 else None
    return [cell | {"best": cell["judged"] and cell["number"] == top} for cell in cells]


def _cell(name: str, run: Run) -> dict[str, Any]:
    sides = run.scores.get(name, {})
    before, after = sides.get("before"), sides.get("after")
    early = run.last_look if name == HELD_OUT and after is None else None
    value = early if after is None else after
    return {
        "number": value,
        "judged": after is not None and run.is_judged,
        "value": write_score(name, value),
        "was": write_score(name, before) if before is not None else "",
        "note": _("so far") if early is not None else "",
    }


def setting_lines(runs: Sequence[Run]) -> tuple[list[Line], list[dict[str, str]]]:
    """What the runs differ in, and beside it what all have alike, as items of the `keyvalues` macro."""
    differ: list[Line] = []
    same: list[dict[str, str]] = []
    for label, read, write in _settings():
        raw = [read(run) for run in runs]
        if all(value == raw[0] for value in raw):
            same.append({"label": label, "value": write(raw[0])})
        else:
            differ.append(Line(label, _marked([write(value) for value in raw])))
    return differ, same


def _marked(said: list[str]) -> list[dict[str, Any]]:
    """Where most have the same, the others stand out."""
    [(usual, count)] = Counter(said).most_common(1)
    return [{"value": value, "odd": count > 1 and value != usual} for value in said]


_Setting = tuple[str, Callable[[Run], Any], Callable[[Any], str]]


def _settings() -> list[_Setting]:
    rows: _Setting = (_("Data set"), lambda run: dataset_words(run.dataset), str)
    start: _Setting = (
        _("Goes on from"),
        lambda run: int(run.job.config.get("adapter_of", 0)),
        lambda number: _("job %(n)s", n=number) if number else _("a fresh adapter"),
    )
    names = ("base_model", *(name for name in BY_NAME if name != "base_model"))
    return [rows, start, *(_setting(name) for name in names)]


def _setting(name: str) -> _Setting:
    spec = TrainConfig.model_fields[name]
    usual = None if spec.is_required() else spec.get_default()
    usual = list(usual) if isinstance(usual, tuple) else usual
    # An older job may lack a setting that came later: it ran with the default.
    return BY_NAME[name].label, lambda run: run.job.config.get(name, usual), lambda value: shown(name, value)


def doubts(runs: Sequence[Run]) -> list[str]:
    """Why the losses may not be set against each other number by number."""
    said = []
    if len({_held_out_rows(run) for run in runs}) > 1:
        said.append(_("The held-out rows are not the same in all runs: their validation losses differ for that too."))
    if len({run.job.config.get("base_model") for run in runs}) > 1:
        said.append(_("The base models differ: each has tokens of its own, so their losses are not on one scale."))
    return said


def _held_out_rows(run: Run) -> tuple[object, ...]:
    split = split_of(TrainConfig.model_construct(**run.job.config))
    return (0 if split.dataset_id else run.job.subject_id, split)


def answer_groups(found: Sequence[Column]) -> list[dict[str, Any]]:
    """Each question of any run, and its answers: those that are word for word alike stand once."""
    questions: dict[tuple[str, str], dict[str, Any]] = {}
    for column in found:
        for number, question in enumerate(column.run.job.config.get("questions", ())):
            key = (str(question.get("prompt", "")), str(question.get("system", "")))
            here = questions.setdefault(key, _question(key, question))
            for side in ("before", "after"):
                _put(here[side], column, number, side)
    return [item | {side: list(item[side].values()) for side in ("before", "after")} for item in questions.values()]


def _question(key: tuple[str, str], question: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": key[0], "system": key[1], "expected": question.get("expected", ""), "before": {}, "after": {}}


def _put(groups: dict[Any, dict[str, Any]], column: Column, number: int, side: str) -> None:
    answer = column.run.answers.get((number, side))
    if answer is not None:
        alike = (answer.text, answer.reasoning)
        groups.setdefault(alike, {"runs": [], "side": side_view(answer)})["runs"].append(column)
    elif side == "after":
        groups.setdefault(None, {"runs": [], "side": None})["runs"].append(column)
