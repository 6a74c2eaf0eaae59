"""The settings of one fine-tune: the form, the API, YAML and the trainer's `job.json` all read this one model."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

Engine = Literal["auto", "hf", "unsloth"]
Quantisation = Literal["auto", "none", "4bit"]
Scheduler = Literal["linear", "cosine", "constant"]
Optimizer = Literal["auto", "adamw_torch", "adamw_8bit"]
Precision = Literal["auto", "bf16", "fp16"]
Checkpointing = Literal["auto", "on", "off"]
Attention = Literal["auto", "sdpa", "eager", "flash_attention_2"]

#: The seven projections of a Llama-shaped block, as the tutorial names them.
TARGET_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
MAX_QUESTIONS = 8
MAX_ACCUMULATION = 1024
#: From this many parameters on, a model is loaded in 4 bits on CUDA unless asked otherwise.
FOUR_BIT_FROM = 3_000_000_000

Module = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4_000)]


class Question(BaseModel):
    """One question asked before and after training, with the same seed and sampling."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Line
    system: str = Field(default="", max_length=4_000)
    expected: str = Field(default="", max_length=20_000)


class TrainConfig(BaseModel):
    """Everything a run depends on besides the rows. Frozen: a changed setting is another job."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base_model: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
    #: A branch, a tag, a commit or `refs/pr/1`; it becomes part of a folder's name.
    revision: str = Field(default="", max_length=100, pattern=r"^([A-Za-z0-9][A-Za-z0-9._/\-]*)?$")
    #: Number of the finished training whose adapter this one goes on from; 0: it starts a fresh one.
    adapter_of: int = Field(default=0, ge=0, le=2**31 - 1)
    engine: Engine = "auto"
    load_in: Quantisation = "auto"
    precision: Precision = Field(default="auto", description="auto: bf16 where the card knows it; the CPU uses fp32")
    gradient_checkpointing: Checkpointing = "auto"
    attention: Attention = "auto"
    fit_memory: bool = Field(default=True, description="choose the batch for the card, at the same effective batch")
    gpus: int = Field(default=1, ge=1, le=64, description="of one worker; where none has any, the CPU stands for one")
    min_gpu_memory_gb: float = Field(default=0.0, ge=0, le=10_000, description="of the worker's largest GPU; 0: any")
    worker_label: Annotated[str, StringConstraints(strip_whitespace=True, max_length=100)] = ""

    num_train_epochs: float = Field(default=3.0, gt=0, le=100)
    max_steps: int = Field(default=0, ge=0, le=1_000_000, description="0: as many as the epochs give; else it wins")
    learning_rate: float = Field(default=2e-4, gt=0, le=1)
    per_device_train_batch_size: int = Field(default=2, ge=1, le=512)
    gradient_accumulation_steps: int = Field(default=4, ge=1, le=MAX_ACCUMULATION)
    max_seq_length: int = Field(default=0, ge=0, le=262_144, description="0: from the audit, at most 2048")
    warmup_steps: int = Field(default=5, ge=0, le=100_000)
    lr_scheduler_type: Scheduler = "linear"
    optim: Optimizer = "auto"
    weight_decay: float = Field(default=0.01, ge=0, le=1)
    seed: int = Field(default=3407, ge=0, le=2**31 - 1)
    packing: bool = False

    lora_r: int = Field(default=16, ge=1, le=1024)
    lora_alpha: int = Field(default=16, ge=1, le=4096)
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: Annotated[tuple[Module, ...], Field(max_length=100)] = TARGET_MODULES

    validation_split: float = Field(default=0.1, ge=0, le=0.5, description="fraction of the rows held out")
    validation_dataset: int = Field(
        default=0, ge=0, le=2**31 - 1, description="number of a data set whose rows are held out instead; 0: none"
    )
    split_by_file: bool = Field(
        default=False, description="the rows' own split decides instead; those marked for testing are left out"
    )
    eval_steps: int = Field(default=0, ge=0, le=100_000, description="0: ten times a run")
    save_steps: int = Field(default=0, ge=0, le=100_000, description="0: ten times a run")
    save_minutes: float = Field(default=15.0, ge=0, le=10_000, description="on the trainer's clock; 0: by steps alone")

    questions: tuple[Question, ...] = Field(default=(), max_length=MAX_QUESTIONS)
    max_new_tokens: int = Field(default=256, ge=1, le=8192)
    temperature: float = Field(default=0.0, ge=0, le=2)

    @field_validator("revision")
    @classmethod
    def _climbs_nowhere(cls, value: str) -> str:
        if ".." in value:
            raise ValueError("A revision is a branch, a tag or a commit, such as main.")
        return value

    @field_validator("target_modules")
    @classmethod
    def _some_module(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("Choose at least one module to adapt.")
        return value

    @model_validator(mode="after")
    def _remote_names(self) -> TrainConfig:
        if "://" in self.base_model:
            raise ValueError("base_model is a Hub id such as HuggingFaceTB/SmolLM2-135M-Instruct, or a local folder.")
        return self

    @property
    def effective_batch_size(self) -> int:
        """Rows seen per optimiser step on one device."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    def steps_for(self, train_rows: int) -> int:
        """Optimiser steps this run will take on `train_rows` rows (the last, partial batch of an epoch counts)."""
        if self.max_steps:
            return self.max_steps
        batches = -(-train_rows // self.per_device_train_batch_size)
        per_epoch = max(1, -(-batches // self.gradient_accumulation_steps))
        return max(1, math.ceil(per_epoch * self.num_train_epochs))


def default_change(config: TrainConfig) -> dict[str, tuple[object, object]]:
    """Fields that differ from the defaults: name -> (default, chosen)."""
    out: dict[str, tuple[object, object]] = {}
    for name, field in TrainConfig.model_fields.items():
        value = getattr(config, name)
        if not field.is_required() and value != field.get_default():
            out[name] = (field.get_default(), value)
    return out
