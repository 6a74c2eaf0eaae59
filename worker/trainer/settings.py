"""From `TrainConfig` to what TRL and the device want."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.domain.jobs.config import FOUR_BIT_FROM, TrainConfig
from worker.child import JobError
from worker.trainer.specs import CHECKPOINTS_DIR

_TIMES_A_RUN = 10
#: Looks and checkpoints are at least this many steps apart, unless asked otherwise.
_LEAST_STEPS = 5
_MAX_POINTS = 2_000


def four_bit(config: TrainConfig, parameters: int, *, cuda: bool, quantised: bool) -> bool:
    """Whether to load the base in 4 bits. Raises `JobError` when that was asked for and can't be had."""
    if config.load_in == "4bit" and not cuda:
        raise JobError(
            "not_supported", "Loading in 4 bits needs a CUDA GPU.", 'Set "load in" to "auto" or "none" on this worker.'
        )
    if config.load_in == "none" or not cuda or quantised:
        return False
    present = find_spec("bitsandbytes") is not None
    if config.load_in == "4bit" and not present:
        raise JobError("not_supported", "Loading in 4 bits needs bitsandbytes.", "Install it on this worker.")
    return config.load_in == "4bit" or (present and parameters >= FOUR_BIT_FROM)


def optimizer(config: TrainConfig, *, cuda: bool) -> str:
    """The optimiser's name for the trainer. Raises `JobError` for 8 bits where they can't be had."""
    eight_bit = cuda and find_spec("bitsandbytes") is not None
    if config.optim == "adamw_8bit" and not eight_bit:
        raise JobError(
            "not_supported",
            "The 8-bit optimiser needs a CUDA GPU and bitsandbytes.",
            'Set the optimiser to "auto" or "adamw_torch" on this worker.',
        )
    return config.optim if config.optim != "auto" else "adamw_8bit" if eight_bit else "adamw_torch"


def training_arguments(
    config: TrainConfig, job_dir: Path, *, rows: int, validation: int, max_seq_length: int, cuda: bool
) -> dict[str, Any]:
    """Keyword arguments of `SFTConfig`, the same for both engines. `rows` are those trained on."""
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
        "optim": optimizer(config, cuda=cuda),
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
        "bf16": cuda,
        "fp16": False,
        "use_cpu": not cuda,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": cuda,
    }
