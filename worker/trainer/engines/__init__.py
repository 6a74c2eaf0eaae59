"""Two engines, the same few functions each. Importing this package loads neither."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, cast

from app.domain.jobs.config import Engine, TrainConfig
from app.domain.models.plan import Plan
from worker.child import Child, JobError


class EngineModule(Protocol):
    """What `engines/hf.py` and `engines/unsloth.py` offer."""

    NAME: str

    def prepare(self, job_dir: Path) -> None:
        """Import what the engine needs, in the order it needs it; litter goes into `job_dir`."""

    def load(self, folder: Path, settled: Plan, max_seq_length: int, *, foreign_code: bool) -> Any:
        """The base model on its device, frozen or not; with `foreign_code` its author's code runs."""

    def attach_lora(self, model: Any, settled: Plan) -> Any:
        """The model with a fresh, trainable LoRA adapter."""

    def answering(self, model: Any) -> AbstractContextManager[None]:
        """While open, `model` generates; afterwards it trains again."""

    def make_trainer(
        self,
        model: Any,
        tokenizer: Any,
        arguments: dict[str, Any],
        rows: tuple[Any, Any],
        collator: Any,
        callbacks: Sequence[Any],
        *,
        checkpointing: bool,
    ) -> Any:
        """A TRL `SFTTrainer` over (train, validation) rows that are tokens already."""

    def save(self, model: Any, folder: Path) -> None:
        """Write the adapter to `folder`."""


def choose_engine(wanted: Engine, *, cuda: bool, processes: int = 1) -> tuple[str, str]:
    """The engine to use, and why in a sentence. Raises `JobError` when the wanted one can't be used."""
    installed = find_spec("unsloth") is not None
    if processes > 1 and wanted == "unsloth":
        raise JobError("not_supported", "The engine unsloth trains on one GPU.", 'Ask for one GPU, or choose "auto".')
    if processes > 1:
        return "hf", f"Engine hf (transformers, PEFT and TRL): it trains on {processes} GPUs together."
    if wanted == "unsloth" and not installed:
        raise JobError(
            "not_supported",
            "The engine unsloth is not installed on this worker.",
            'Install it, or choose the engine "auto" or "hf".',
        )
    if wanted != "auto":
        return wanted, f"Engine {wanted}, as chosen."
    if cuda and installed:
        return "unsloth", "Engine unsloth: it is installed and this worker has a GPU."
    why = "Unsloth is not installed" if cuda else "this worker has no GPU"
    return "hf", f"Engine hf (transformers, PEFT and TRL): {why}."


def engine_module(name: str) -> EngineModule:
    """The module of engine `name`."""
    return cast("EngineModule", import_module(f"worker.trainer.engines.{name}"))


def start_engine(config: TrainConfig, child: Child) -> EngineModule:
    """Choose, say why, and import. Raises `JobError`."""
    import torch

    there = torch.cuda.device_count()
    if there and config.gpus > there:
        raise JobError(
            "not_supported",
            f"{config.gpus} GPUs were asked for; this worker has {there}.",
            "Ask for fewer GPUs, or start a worker that has them.",
        )
    name, why = choose_engine(config.engine, cuda=there > 0, processes=config.gpus)
    child.events.log(why)
    engine = engine_module(name)
    engine.prepare(child.job_dir)
    return engine
