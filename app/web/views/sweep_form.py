"""The part of the form where several values are tried: what was typed to a grid, and back with a sentence beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.domain.errors import InvalidError
from app.domain.jobs.config import TrainConfig
from app.domain.sweeps.grid import MOST_FIELDS, MOST_RUNS, SWEPT, combinations
from app.web.render import translate as _
from app.web.views.fields import BY_NAME
from app.web.views.job_form import JobForm, to_config


def choices() -> list[tuple[str, str]]:
    """Options of the `select` macro."""
    return [("", _("None")), *((name, _(BY_NAME[name].label)) for name in SWEPT)]


def rows(form: JobForm) -> list[dict[str, Any]]:
    """The places of the form, with what was typed and what is wrong with it."""
    typed = [*form.sweep, *[("", "")] * MOST_FIELDS][:MOST_FIELDS]
    return [
        {"number": number, "field": field, "values": values, "error": form.errors.get(_place(number), "")}
        for number, (field, values) in enumerate(typed, start=1)
    ]


def grid_of(form: JobForm) -> dict[str, list[Any]]:
    """The values to be tried, each checked; empty where none are. What is wrong is told in `form.errors`."""
    grid: dict[str, list[Any]] = {}
    for number, (field, typed) in enumerate(form.sweep[:MOST_FIELDS], start=1):
        if not (field or typed):
            continue
        refusal = _refusal(field, typed, grid)
        values = [] if refusal else _checked(form, field, typed)
        if isinstance(values, str) or refusal:
            form.errors.setdefault(_place(number), refusal or str(values))
        else:
            grid[field] = values
    return grid


def _refusal(field: str, typed: str, grid: Mapping[str, Any]) -> str:
    if field not in SWEPT:
        return _("Choose the setting that these values are for.")
    if field in grid:
        return _("%(label)s is chosen twice. Write all its values in one place.", label=_(BY_NAME[field].label))
    if not _split(typed):
        return _("Give the values to try, such as 1e-4, 2e-4.")
    return ""


def _split(typed: str) -> list[str]:
    """By semicolons where there are any, so that a comma may stand in a number."""
    parts = re.split(r";" if ";" in typed else r",", typed[:1000])
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _checked(form: JobForm, field: str, typed: str) -> list[Any] | str:
    """The values, or what is wrong with one."""
    parts = _split(typed)
    if len(parts) > MOST_RUNS:
        return _("%(n)s values at most are tried at once.", n=MOST_RUNS)
    values: list[Any] = []
    for part in parts:
        tried = replace(form, values=form.values | {field: part}, errors={})
        config = to_config(tried)
        if field in tried.errors:
            return tried.errors[field]
        values.append(getattr(config, field) if config else part)
    return list(dict.fromkeys(values))


def planned(form: JobForm, config: TrainConfig, grid: Mapping[str, list[Any]]) -> list[str]:
    """Names of the trainings that would start; what is wrong is told in `form.errors`."""
    try:
        return [name for name, _config in combinations(config, grid, form.name or _("run"))]
    except InvalidError as exc:
        put_errors(form, exc.errors)
        return []


def put_errors(form: JobForm, errors: Mapping[str, str]) -> None:
    """Beside the values of a setting where several are tried, else beside its field."""
    places = {field: _place(number) for number, (field, _typed) in enumerate(form.sweep, start=1) if field}
    form.errors |= {places.get(name, name): sentence for name, sentence in errors.items()}


def _place(number: int) -> str:
    return f"sweep_values-{number}"


def first_place() -> str:
    """Where a sentence about the whole sweep stands."""
    return _place(1)
