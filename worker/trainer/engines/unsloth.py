"""Unsloth: on CUDA, and on its CPU path. It must be imported before transformers, trl and peft."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.domain.jobs.config import TrainConfig

NAME = "unsloth"


def prepare(job_dir: Path) -> None:
    """Import Unsloth first of all; what it compiles goes into the job folder, not into the working directory."""
    os.environ["UNSLOTH_COMPILE_LOCATION"] = str(job_dir / "unsloth_compiled_cache")
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
    import unsloth  # noqa: F401


def load(folder: Path, config: TrainConfig, max_seq_length: int, *, four_bit: bool) -> Any:
    """The base model: bfloat16 or 4-bit on CUDA, float32 on the CPU."""
    import torch
    from unsloth import FastLanguageModel

    model, _ = FastLanguageModel.from_pretrained(
        model_name=str(folder),
        max_seq_length=max_seq_length,
        dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
        load_in_4bit=four_bit,
        use_gradient_checkpointing="unsloth",
        random_state=config.seed,
        trust_remote_code=False,
        local_files_only=True,
    )
    return model


def attach_lora(model: Any, config: TrainConfig) -> Any:
    """A fresh adapter; its start depends on the seed."""
    from unsloth import FastLanguageModel

    return FastLanguageModel.get_peft_model(
        model,
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=list(config.target_modules),
        bias="none",
        use_gradient_checkpointing="unsloth",
        random_state=config.seed,
    )


@contextmanager
def answering(model: Any) -> Iterator[None]:
    """Unsloth's own switch between its fast generation and its training."""
    from unsloth import FastLanguageModel

    FastLanguageModel.for_inference(model)
    try:
        yield
    finally:
        FastLanguageModel.for_training(model)


def make_trainer(
    model: Any,
    tokenizer: Any,
    arguments: dict[str, Any],
    rows: tuple[Any, Any],
    collator: Any,
    callbacks: Sequence[Any],
) -> Any:
    """TRL's trainer as Unsloth patches it."""
    from trl import SFTConfig, SFTTrainer

    return SFTTrainer(
        model=model,
        args=SFTConfig(**arguments),
        processing_class=tokenizer,
        train_dataset=rows[0],
        eval_dataset=rows[1],
        data_collator=collator,
        callbacks=list(callbacks),
    )


def save(model: Any, folder: Path) -> None:
    """The adapter as safetensors; "auto" would ask the Hub about the base model's vocabulary."""
    model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
