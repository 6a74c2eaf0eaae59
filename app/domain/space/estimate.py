"""How much a job will write, from the model's shape: told before it starts, so that no night ends on a full disk."""

from __future__ import annotations

from app.core.settings import Settings
from app.domain.errors import NoSpaceError
from app.domain.jobs.checkpoints import NEWEST
from app.domain.jobs.config import TrainConfig
from app.domain.models.catalogue import find, is_on_machine, local_folder, shape_of

#: The tokenizer and the small files beside a set of weights.
_BESIDE = 15_000_000
#: Numbers of an adapter are saved in 32 bits; AdamW keeps two of them for each, its 8-bit kind two bytes.
_SAVED = 4
_OPTIMIZER = {"adamw_8bit": 2, "adamw_torch": 8, "auto": 8}
#: Beside the newest: the best, and the one that is being written.
_CHECKPOINTS = NEWEST + 2
#: Bytes a number takes in each kind of GGUF.
_GGUF = {"f16": 2.0, "q8_0": 1.07, "q4_k_m": 0.62}
#: Left for the database, the logs and everybody else.
SPARE_BYTES = 500_000_000


def checkpoint_bytes(settings: Settings, config: TrainConfig) -> int:
    """One checkpoint; 0 where the model's shape is not known."""
    shape = shape_of(settings, config.base_model)
    if shape is None:
        return 0
    return shape.lora_weights(config.lora_r, config.target_modules) * (_SAVED + _OPTIMIZER[config.optim]) + _BESIDE


def training_bytes(settings: Settings, config: TrainConfig, rows_bytes: int) -> int:
    """A whole training: its rows, the checkpoints kept, the adapter, and the base model where it must be fetched.

    0 where the model's shape is not known.
    """
    checkpoint = checkpoint_bytes(settings, config)
    if not checkpoint:
        return 0
    return rows_bytes + (_CHECKPOINTS + 1) * checkpoint + _fetched(settings, config)


def _fetched(settings: Settings, config: TrainConfig) -> int:
    entry = find(config.base_model)
    here = local_folder(config.base_model) is not None or is_on_machine(settings, config.base_model)
    return entry.size_bytes if entry and not here else 0


def export_bytes(settings: Settings, config: TrainConfig, artifact: str, quant: str, *, merged: bool) -> int:
    """One export at its peak; `merged`: the merged model is there already. 0 where the model's shape is not known."""
    shape = shape_of(settings, config.base_model)
    if shape is None:
        return 0
    whole = shape.parameters * 2
    total = 0 if merged else whole + _BESIDE
    if artifact == "gguf":
        # What is quantised lies there in 16 bits meanwhile.
        total += int(shape.parameters * _GGUF.get(quant, 2.0)) + (0 if quant == "f16" else whole)
    return total


def refuse_without_room(what: str, needed: int, free: int) -> None:
    """Raises `NoSpaceError` that says how much is missing."""
    missing = needed + SPARE_BYTES - free
    if needed and missing > 0:
        raise NoSpaceError(
            f"{what} will write about {_size(needed)} and the disk has {_size(free)} left: "
            f"{_size(missing)} more are needed, {_size(SPARE_BYTES)} of them to spare."
        )


#: What to do about it.
ADVICE = "Make room on the worker's disk: the Storage page shows what takes it and what can go. Then start it again."


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
