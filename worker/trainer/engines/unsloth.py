"""Unsloth: on CUDA, and on its CPU path. It must be imported before transformers, trl and peft."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.domain.models.plan import Plan

NAME = "unsloth"
#: How the names of precisions are called in torch.
_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def prepare(job_dir: Path) -> None:
    """Import Unsloth first of all; what it compiles goes into the job folder, not into the working directory."""
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(job_dir / "unsloth_compiled_cache"))
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
    import unsloth  # noqa: F401


def load(folder: Path, settled: Plan, max_seq_length: int, *, foreign_code: bool) -> Any:
    """The base model: 16 or 4 bits on CUDA, float32 on the CPU. Unsloth chooses the attention itself."""
    import torch
    from unsloth import FastLanguageModel

    model, _ = FastLanguageModel.from_pretrained(
        model_name=str(folder),
        max_seq_length=max_seq_length,
        dtype=getattr(torch, _DTYPES[settled.precision]),
        load_in_4bit=settled.four_bit,
        use_gradient_checkpointing=_checkpointing(settled),
        random_state=settled.config.seed,
        trust_remote_code=foreign_code,
        local_files_only=True,
        use_safetensors=True,
    )
    return model


def _checkpointing(settled: Plan) -> str | bool:
    """Unsloth's own kind, which moves what it keeps to the computer's memory."""
    return "unsloth" if settled.gradient_checkpointing else False


def attach_lora(model: Any, settled: Plan) -> Any:
    """A fresh adapter; its start depends on the seed."""
    from unsloth import FastLanguageModel

    config = settled.config
    return FastLanguageModel.get_peft_model(
        model,
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=list(config.target_modules),
        bias="none",
        use_gradient_checkpointing=_checkpointing(settled),
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
    *,
    checkpointing: bool,
) -> Any:
    """TRL's trainer as Unsloth patches it."""
    from trl import SFTConfig, SFTTrainer

    return SFTTrainer(
        model=model,
        args=SFTConfig(**arguments, gradient_checkpointing=checkpointing),
        processing_class=tokenizer,
        train_dataset=rows[0],
        eval_dataset=rows[1],
        data_collator=collator,
        callbacks=list(callbacks),
    )


def save(model: Any, folder: Path) -> None:
    """The adapter as safetensors; "auto" would ask the Hub about the base model's vocabulary."""
    model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
