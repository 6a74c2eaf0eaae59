"""The settings of a job as its page shows them: what was chosen first, then what stands at its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.jobs.config import TrainConfig
from app.web.views.fields import BY_NAME, written

#: What 0 or an empty text stands for.
NOUGHT = {
    "max_steps": "as the epochs give",
    "max_seq_length": "from the rows, at most 2048",
    "eval_steps": "ten times a run",
    "save_steps": "ten times a run",
    "save_minutes": "by steps alone",
    "revision": "the newest",
    "min_gpu_memory_gb": "any",
    "worker_label": "any",
    "temperature": "0, the likeliest word",
    "validation_dataset": "a share of the rows",
}


def shown(name: str, value: Any) -> str:
    """A value of a stored config as a person reads it."""
    spec = BY_NAME.get(name)
    if name in NOUGHT and not value:
        return NOUGHT[name]
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return ", ".join(str(v) for v in value)
    if spec and spec.options:
        return dict(spec.options).get(str(value), str(value))
    said = written(name, value)
    return f"{said} {spec.unit}" if spec and spec.unit else said


@dataclass(frozen=True)
class SettingsView:
    """Items of the `keyvalues` macro: what was chosen, and what stands at its default."""

    chosen: list[dict[str, Any]]
    default: list[dict[str, Any]]


def settings_view(config: Mapping[str, Any]) -> SettingsView:
    """A stored config, its differences from the defaults first."""
    view = SettingsView([], [])
    for name in ("base_model", *(name for name in BY_NAME if name != "base_model")):
        if name in config:
            item, is_default = _setting(name, config[name])
            (view.default if is_default else view.chosen).append(item)
    return view


def _setting(name: str, value: Any) -> tuple[dict[str, Any], bool]:
    field = TrainConfig.model_fields[name]
    item = {"label": BY_NAME[name].label, "value": shown(name, value), "was": None, "note": ""}
    if field.is_required():
        return item, False
    default = field.get_default()
    default = list(default) if isinstance(default, tuple) else default
    return (item, True) if value == default else (item | {"was": shown(name, default)}, False)
