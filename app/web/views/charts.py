"""Which curves a job's page draws beside the loss, with their names."""

from __future__ import annotations

from collections.abc import Collection

from app.web.render import translate as _

#: Drawn large, with the loss.
_LARGE = frozenset({"loss", "eval_loss"})
_USUAL = ("learning_rate", "grad_norm", "tokens_per_second")
_MACHINE = (
    "gpu_memory", "gpu_use", "gpu_temperature", "gpu_power", "process_memory", "host_memory", "cpu_use",
)  # fmt: skip
#: How values are written.
_FORMATS = {
    "learning_rate": "rate", "tokens_per_second": "number", "num_tokens": "number", "mean_token_accuracy": "percent",
    "eval_mean_token_accuracy": "percent", "gpu_memory": "filesize", "process_memory": "filesize",
    "host_memory": "filesize", "gpu_use": "percent", "cpu_use": "percent", "gpu_temperature": "number",
    "gpu_power": "number",
}  # fmt: skip

Chart = tuple[str, str, str]


def charts(names: Collection[str]) -> dict[str, list[Chart]]:
    """(name, label, format) of each: the usual ones, whatever else the trainer logged, and the machine's."""
    others = sorted(set(names) - _LARGE - set(_USUAL) - set(_MACHINE))
    return {
        "small": [_chart(name) for name in (*_USUAL, *others)],
        "machine": [_chart(name) for name in _MACHINE if name in names],
    }


def _chart(name: str) -> Chart:
    return name, _labels().get(name, name), _FORMATS.get(name, "")


def _labels() -> dict[str, str]:
    return {
        "learning_rate": _("Learning rate"),
        "grad_norm": _("Gradient norm"),
        "tokens_per_second": _("Tokens a second"),
        "num_tokens": _("Tokens seen"),
        "mean_token_accuracy": _("Tokens guessed right"),
        "eval_mean_token_accuracy": _("Validation tokens guessed right"),
        "entropy": _("Entropy"),
        "eval_entropy": _("Validation entropy"),
        "gpu_memory": _("GPU memory"),
        "gpu_use": _("GPU use"),
        "gpu_temperature": _("GPU temperature, °C"),
        "gpu_power": _("GPU power, W"),
        "process_memory": _("Memory of the training"),
        "host_memory": _("Memory of the computer"),
        "cpu_use": _("CPU use"),
    }
