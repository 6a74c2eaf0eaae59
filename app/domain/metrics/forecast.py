"""How fast a training will go: by earlier runs on the same worker, else by a model of its card."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Literal

from sqlmodel import Session

from app.core.settings import Settings
from app.domain.jobs.config import TrainConfig
from app.domain.metrics.pace import runs_on
from app.domain.models.catalogue import shape_of
from app.domain.models.memory import EngineName
from app.domain.models.shapes import Shape
from app.domain.models.speed import tokens_per_second

Basis = Literal["same model", "other models", "card"]
#: What the true speed may be off from the one told, as a factor either way.
_OFF: dict[Basis, float] = {"same model": 1.1, "other models": 1.5, "card": 2.0}


@dataclass(frozen=True)
class Forecast:
    """Tokens a second, between `slow` and `fast`; how many runs it goes by, and what kind."""

    slow: float
    fast: float
    runs: int
    basis: Basis


@dataclass(frozen=True)
class Wish:
    """What is asked about. `card_tflops` 0: a card that is not known, or the CPU."""

    config: TrainConfig
    shape: Shape | None
    mean_length: float
    engine: EngineName
    checkpointing: bool
    card_tflops: float
    worker: str


def forecast(session: Session, settings: Settings, wish: Wish) -> Forecast | None:
    """None where nothing can be said."""
    runs = runs_on(session, wish.worker)
    same = [run.speed for run in runs if run.config.get("base_model") == wish.config.base_model][:5]
    if same:
        spread = _OFF["same model"]
        return Forecast(min(same) / spread, max(same) * spread, len(same), "same model")
    if wish.shape is None:
        return None
    scaled = [
        run.speed * shape.parameters / wish.shape.parameters
        for run in runs[:5]
        if (shape := shape_of(settings, str(run.config.get("base_model"))))
    ]
    if scaled:
        return _around(statistics.median(scaled), len(scaled), "other models")
    if not wish.card_tflops:
        return None
    modelled = tokens_per_second(
        wish.shape, wish.config, wish.mean_length, wish.engine, wish.card_tflops, checkpointing=wish.checkpointing
    )
    return _around(modelled, 0, "card")


def _around(speed: float, runs: int, basis: Basis) -> Forecast:
    return Forecast(speed / _OFF[basis], speed * _OFF[basis], runs, basis)
