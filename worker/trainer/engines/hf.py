"""transformers + PEFT + TRL, on the CPU and on CUDA."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.domain.models.plan import Plan
from worker.trainer import ranks

NAME = "hf"
#: How the names of precisions are called in torch.
_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def prepare(job_dir: Path) -> None:  # noqa: ARG001 - this engine leaves nothing behind
    """Import the libraries, so that the wait is seen in its own phase."""
    import peft  # noqa: F401
    import trl  # noqa: F401


def load(folder: Path, settled: Plan, max_seq_length: int, *, foreign_code: bool) -> Any:  # noqa: ARG001
    """The base model: 16 or 4 bits on CUDA, float32 on the CPU."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dtype = getattr(torch, _DTYPES[settled.precision])
    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        quantization_config=quantisation if settled.four_bit else None,
        device_map={"": ranks.rank()} if torch.cuda.is_available() else None,
        attn_implementation=settled.attention,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=foreign_code,
    )


def attach_lora(model: Any, settled: Plan) -> Any:
    """A fresh adapter; its start depends on the seed set before."""
    from peft import LoraConfig, get_peft_model

    config = settled.config
    # Not PEFT's prepare_model_for_kbit_training: it turns what is not in 4 bits, the vocabulary above all, to float32.
    if settled.gradient_checkpointing:
        model.enable_input_require_grads()
    lora = LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=list(config.target_modules),
        bias="none",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora)


@contextmanager
def answering(model: Any) -> Iterator[None]:
    """Dropout and gradient checkpointing off while the model generates."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


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
    """TRL's trainer; with `checkpointing` each block is computed again on the way back, which saves memory."""
    from trl import SFTConfig, SFTTrainer

    settings = SFTConfig(
        **arguments,
        gradient_checkpointing=checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if checkpointing else None,
    )
    trainer = SFTTrainer(
        model=model,
        args=settings,
        processing_class=tokenizer,
        train_dataset=rows[0],
        eval_dataset=rows[1],
        data_collator=collator,
        callbacks=list(callbacks),
    )
    for parameter in model.parameters():  # on a 4-bit base TRL turns the adapter to bfloat16: small updates get lost
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return trainer


def save(model: Any, folder: Path) -> None:
    """The adapter as safetensors; "auto" would ask the Hub about the base model's vocabulary."""
    model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
