"""The tiles of a job: where its numbers stand now, and how its scores changed."""

from __future__ import annotations

from typing import Any

from app.domain.jobs.models import Job
from app.domain.preferences.service import Prices
from app.web import filters
from app.web.render import translate as _

SCORE_WORDS = {"eval_loss": "Validation loss", "perplexity": "Perplexity"}
#: Scores of which less is better.
LESS_IS_BETTER = frozenset({"eval_loss", "perplexity", "loss"})


def stat_items(
    job: Job, latest: dict[str, float], first: dict[str, float], now: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Items of the `stats` macro for a job that has begun to step. `now`: its newest `metric` and `gpu` payloads."""
    if not latest:
        return []
    began = first.get("loss")
    note = _("started at %(loss)s", loss=filters.loss(began)) if began is not None else ""
    tiles = [
        _tile(_("Loss"), filters.loss(latest.get("loss")), "loss", "loss", note),
        _tile(_("Validation loss"), filters.loss(latest.get("eval_loss")), "eval_loss", "loss"),
    ]
    epoch = now.get("metric", {}).get("epoch")
    if epoch is not None:
        epochs = "" if job.config.get("max_steps") else _("of %(n)s", n=f"{job.config.get('num_train_epochs', 0):g}")
        tiles.append(
            {"label": _("Epoch"), "value": f"{epoch:.2f}", "note": epochs, "live": ("metric", "epoch", "fixed")}
        )
    speed = latest.get("tokens_per_second")
    tiles.append(_tile(_("Tokens a second"), filters.number(speed) if speed else "–", "tokens_per_second", "number"))
    return tiles + _memory(now.get("gpu", {}))


def _memory(gpu: dict[str, Any]) -> list[dict[str, Any]]:
    used, total = gpu.get("memory_used"), gpu.get("memory_total")
    if not used:
        return []
    label = _("Memory") if gpu.get("device") == "cpu" else _("GPU memory")
    note = _("of %(n)s", n=filters.filesize(total)) if total else ""
    return [{"label": label, "value": filters.filesize(used), "note": note, "live": ("gpu", "memory_used", "filesize")}]


def gpu_hours(job: Job, seconds: float, gpu: dict[str, Any], prices: Prices) -> list[dict[str, Any]]:
    """The tile of what a job has taken of GPUs, and what that costs; none on the CPU. `gpu`: its newest payload."""
    if gpu.get("device", "cpu") == "cpu":
        return []
    hours = seconds / 3600 * int(job.config.get("gpus", 1))
    cost = filters.money([hours * prices.gpu_hour], prices.currency) if prices.gpu_hour else ""
    return [{"label": _("GPU hours"), "value": filters.figure(hours), "note": cost}]


def _tile(label: str, value: str, name: str, shape: str, note: str = "") -> dict[str, Any]:
    return {"label": label, "value": value, "note": note, "live": ("metric", f"values.{name}", shape)}


def score_items(scores: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Items of the `stats` macro: each score before and after, and which way it went."""
    return [_score(name, sides) for name, sides in sorted(scores.items())]


def reread_words(shares: dict[str, float]) -> tuple[str, bool] | None:
    """Whether the answers stood a second look, in words, and whether all is well; None when there was none."""
    if not shares:
        return None
    if min(shares.values()) >= 1:
        return _("Answers checked: read again in one pass, every token is the model's own choice."), True
    said = _(
        "Read again in one pass, %(n)s of the checked tokens are not the model's own choice: the log tells more.",
        n=filters.percent(1 - min(shares.values())),
    )
    return said, False


def score_words(name: str) -> str:
    """How a score is called."""
    return _(SCORE_WORDS.get(name, name.replace("_", " ").capitalize()))


def write_score(name: str, value: float | None) -> str:
    """A score with as many digits as its kind is told with."""
    return filters.loss(value) if name.endswith("loss") else filters.figure(value)


def _score(name: str, sides: dict[str, float]) -> dict[str, Any]:
    before, after = sides.get("before"), sides.get("after")
    item = {"label": score_words(name), "value": write_score(name, after)}
    if before is None:
        return item
    if after is None:
        return item | {"value": write_score(name, before), "note": _("before training")}
    item["was"] = write_score(name, before)
    if before and after != before:
        better = after < before if name in LESS_IS_BETTER else after > before
        change = abs(after - before) / abs(before)
        way = (
            _("%(n)s lower", n=filters.percent(change))
            if after < before
            else _("%(n)s higher", n=filters.percent(change))
        )
        item |= {"verdict": "better" if better else "worse", "note": way}
    return item
