"""From `TrainConfig` to what TRL and the device want."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.domain.jobs.config import FOUR_BIT_FROM, TrainConfig
from app.domain.models.memory import EngineName
from app.domain.models.plan import BF16_FROM, Card, Plan, plan
from app.domain.models.shapes import Shape
from worker.child import JobError
from worker.trainer import ranks
from worker.trainer.specs import CHECKPOINTS_DIR

_TIMES_A_RUN = 10
#: Looks and checkpoints are at least this many steps apart, unless asked otherwise.
_LEAST_STEPS = 5
_MAX_POINTS = 2_000


def settle(
    config: TrainConfig,
    shape: Shape | None,
    length: int,
    engine: str,
    card: Card | None,
    *,
    parameters: int,
    mean_length: float = 0.0,
) -> Plan:
    """What this device will do, where the settings leave it open. `card` None: the CPU.

    `parameters` counts where the model's shape is not known. Raises `JobError` for what was asked for and can't be had.
    """
    if config.attention == "flash_attention_2" and (card is None or find_spec("flash_attn") is None):
        raise _lacking("Flash attention needs a CUDA GPU and the package flash-attn.", "attention")
    if card is None:
        return _on_cpu(config)
    bits = find_spec("bitsandbytes") is not None
    if not bits and "4bit" in config.load_in:
        raise JobError("not_supported", "Loading in 4 bits needs bitsandbytes.", "Install it on this worker.")
    if not bits and config.optim == "adamw_8bit":
        raise _lacking("The 8-bit optimiser needs a CUDA GPU and bitsandbytes.", "optimiser")
    if config.precision == "bf16" and card.capability < BF16_FROM:
        raise _lacking("This card does not calculate in bfloat16.", "precision")
    if shape is None and config.load_in == "auto":
        config = config.model_copy(update={"load_in": "4bit" if bits and parameters >= FOUR_BIT_FROM else "none"})
    name: EngineName = "unsloth" if engine == "unsloth" else "hf"
    return plan(config, shape, length, name, card, bits=bits, mean_length=mean_length)


def _on_cpu(config: TrainConfig) -> Plan:
    if config.load_in == "4bit":
        raise _lacking("Loading in 4 bits needs a CUDA GPU.", "way of loading")
    if config.optim == "adamw_8bit":
        raise _lacking("The 8-bit optimiser needs a CUDA GPU and bitsandbytes.", "optimiser")
    if config.precision != "auto":
        raise _lacking("The CPU calculates in float32.", "precision")
    attention = "sdpa" if config.attention == "auto" else config.attention
    again = config.gradient_checkpointing == "on"
    return Plan(config, "fp32", four_bit=False, gradient_checkpointing=again, attention=attention, optim="adamw_torch")


def _lacking(message: str, what: str) -> JobError:
    return JobError("not_supported", message, f'Set the {what} to "Choose for me" on this worker.')


def training_arguments(
    settled: Plan, job_dir: Path, *, rows: int, validation: int, max_seq_length: int
) -> dict[str, Any]:
    """Keyword arguments of `SFTConfig`, the same for both engines. `rows` are those trained on."""
    config = settled.config
    cuda = settled.precision != "fp32"
    steps = config.steps_for(rows)
    tenth = max(_LEAST_STEPS, -(-steps // _TIMES_A_RUN))
    return {
        # A checkpoint is written here and renamed out of here once it is whole.
        "output_dir": str(job_dir / CHECKPOINTS_DIR / ".part"),
        "num_train_epochs": config.num_train_epochs,
        "max_steps": config.max_steps or -1,
        "learning_rate": config.learning_rate,
        "per_device_train_batch_size": config.per_device_train_batch_size,
        "per_device_eval_batch_size": config.per_device_train_batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation_steps,
        "warmup_steps": config.warmup_steps,
        "lr_scheduler_type": config.lr_scheduler_type,
        "optim": settled.optim,
        "weight_decay": config.weight_decay,
        "seed": config.seed,
        "data_seed": config.seed,
        "max_length": max_seq_length,
        "packing": config.packing,
        "eval_packing": False,
        "dataset_kwargs": {"skip_prepare_dataset": not config.packing},
        "eval_strategy": "steps" if validation else "no",
        "eval_steps": config.eval_steps or tenth,
        "save_strategy": "steps",
        "save_steps": config.save_steps or tenth,
        "save_total_limit": None,  # the callback keeps the newest
        "logging_strategy": "steps",
        "logging_steps": -(-steps // _MAX_POINTS),
        "logging_nan_inf_filter": False,  # a NaN must be seen
        "report_to": [],
        "disable_tqdm": True,
        "bf16": settled.precision == "bf16",
        "fp16": settled.precision == "fp16",
        "use_cpu": not cuda,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": cuda,
        **(_together(cuda=cuda) if ranks.world_size() > 1 else {}),
    }


def _together(*, cuda: bool) -> dict[str, Any]:
    """How several processes find and wait for each other."""
    return {
        "ddp_backend": "nccl" if cuda else "gloo",
        "ddp_find_unused_parameters": False,
        "ddp_timeout": int(ranks.PATIENCE.total_seconds()),
    }
