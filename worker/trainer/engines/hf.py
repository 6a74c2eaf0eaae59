"""transformers + PEFT + TRL, on the CPU and on CUDA."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.domain.jobs.config import TrainConfig

NAME = "hf"


def prepare(job_dir: Path) -> None:  # noqa: ARG001 - this engine leaves nothing behind
    """Import the libraries, so that the wait is seen in its own phase."""
    import peft  # noqa: F401
    import trl  # noqa: F401


def load(folder: Path, config: TrainConfig, max_seq_length: int, *, four_bit: bool) -> Any:  # noqa: ARG001
    """The base model: bfloat16 or 4-bit on CUDA, float32 on the CPU."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    cuda = torch.cuda.is_available()
    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.bfloat16 if cuda else torch.float32,
        quantization_config=quantisation if four_bit else None,
        device_map={"": 0} if cuda else None,
        attn_implementation="sdpa",
        use_safetensors=True,
        local_files_only=True,
    )


def attach_lora(model: Any, config: TrainConfig) -> Any:
    """A fresh adapter; its start depends on the seed set before."""
    import torch
    from peft import LoraConfig, get_peft_model

    # Not PEFT's prepare_model_for_kbit_training: it turns what is not in 4 bits, the vocabulary above all, to float32.
    if torch.cuda.is_available():
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
) -> Any:
    """TRL's trainer; checkpoints of activations are kept on CUDA only, where memory is what is short."""
    import torch
    from trl import SFTConfig, SFTTrainer

    cuda = torch.cuda.is_available()
    settings = SFTConfig(
        **arguments,
        gradient_checkpointing=cuda,
        gradient_checkpointing_kwargs={"use_reentrant": False} if cuda else None,
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
