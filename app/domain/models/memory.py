"""How much GPU memory a fine-tune will take, by part, from the model's shape and the settings.

What follows from the shapes (weights, adapter, gradients, optimiser) is counted. What the kernels keep in between was
fitted to measured peaks (`benchmarks/results/`): all but one (docs/performance.md) are met within 9 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.domain.jobs.config import FOUR_BIT_FROM, MAX_ACCUMULATION, TrainConfig
from app.domain.models.shapes import Shape

EngineName = Literal["hf", "unsloth"]
Verdict = Literal["fits", "tight", "no"]

#: Bytes a number of a block takes in NF4 with double quantisation, its scales included.
NF4_BYTES = 0.516
#: What the driver and the libraries hold before the first tensor, and what the allocator keeps beyond what is used.
CONTEXT_BYTES = 600_000_000
SLACK = 1.06
#: Fitted: bytes a token needs in the block that is computed, over hidden + intermediate size.
_BLOCK_BYTES = {"hf": 13.5, "unsloth": 12.1}
#: The same for each other block, where nothing is computed twice.
_FULL_BYTES = {"hf": 10.9, "unsloth": 5.6}
#: Fitted: bytes for the loss, over the vocabulary: it is computed in pieces.
_LOSS_BYTES = {"hf": 1_170, "unsloth": 175}
#: Fitted: what the kernels work in, whatever the model.
_WORKSPACE_BYTES = {"hf": 149_000_000, "unsloth": 205_000_000}
#: Unsloth moves what it keeps of each block to the computer's memory, beyond about this much.
_KEPT_BYTES = {"hf": float("inf"), "unsloth": 19_000_000}
_FLOAT32 = 4
_ADAM_BYTES = {"adamw_8bit": 2, "adamw_torch": 8}
_TIGHT, _FULL = 0.90, 0.98
#: Rows are not proposed to be cut below this many tokens.
SHORTEST = 256

#: Cards people have: memory as the driver states it, in bytes.
GPUS: tuple[tuple[str, int], ...] = (
    ("RTX 3060, 12 GB", 12_630_000_000),
    ("T4, 16 GB", 15_640_000_000),
    ("RTX 4090, 24 GB", 25_390_000_000),
    ("L40S, 48 GB", 47_700_000_000),
    ("A100 or H100, 80 GB", 84_900_000_000),
    ("H200, 141 GB", 150_100_000_000),
)


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a training, by part."""

    weights: int
    adapter: int
    optimizer: int
    activations: int
    loss: int
    context: int = CONTEXT_BYTES

    @property
    def tensors(self) -> int:
        """What the tensors take: comparable with a measured peak of allocated memory."""
        return self.weights + self.adapter + self.optimizer + self.activations + self.loss

    @property
    def total(self) -> int:
        """What the card must have free."""
        return int(self.tensors * SLACK) + self.context

    def verdict(self, card: int) -> Verdict:
        """Whether a card of `card` bytes holds it."""
        return "fits" if self.total <= card * _TIGHT else "tight" if self.total <= card * _FULL else "no"


def in_four_bit(shape: Shape, config: TrainConfig) -> bool:
    """Whether a CUDA worker will hold the blocks in 4 bits."""
    if shape.four_bit or config.load_in == "4bit":
        return True
    return config.load_in == "auto" and shape.parameters >= FOUR_BIT_FROM


def estimate(
    shape: Shape, config: TrainConfig, length: int, engine: EngineName, *, checkpointing: bool | None = None
) -> Memory:
    """The peak on one CUDA card. `length`: tokens of the longest sequence.

    `checkpointing`: of activations; None: as `config` says, where "auto" counts as on.
    """
    tokens = config.per_device_train_batch_size * length
    block = NF4_BYTES if in_four_bit(shape, config) else 2.0
    lora = shape.lora_weights(config.lora_r, config.target_modules)
    computed = _BLOCK_BYTES[engine] * (shape.hidden + shape.intermediate) * tokens
    kept = min(shape.layers * shape.hidden * 2.0 * tokens, _KEPT_BYTES[engine])
    if not (config.gradient_checkpointing != "off" if checkpointing is None else checkpointing):
        kept = (shape.layers - 1) * _FULL_BYTES[engine] * (shape.hidden + shape.intermediate) * tokens
    optim = "adamw_8bit" if config.optim == "auto" else config.optim
    return Memory(
        weights=max(shape.stored_bytes, int(shape.block_weights * block + shape.vocabulary_weights * 2)),
        adapter=2 * _FLOAT32 * lora,  # the numbers and their gradients
        optimizer=_ADAM_BYTES[optim] * lora,
        activations=int(kept + computed) + _WORKSPACE_BYTES[engine],
        loss=_LOSS_BYTES[engine] * shape.vocabulary,
    )


Way = tuple[TrainConfig, int]


def smaller(shape: Shape, config: TrainConfig, length: int, engine: EngineName, card: int) -> Way | None:
    """The first gentler way that fits a card of `card` bytes: settings and length; None when none does."""
    way: Way | None = (config, length)
    while way is not None and estimate(shape, *way, engine).verdict(card) != "fits":
        way = step_down(*way, may_quantise=not in_four_bit(shape, way[0]))
    return way


def step_down(config: TrainConfig, length: int, *, may_quantise: bool) -> Way | None:
    """One step gentler: half the batch at the same effective batch, then 4-bit weights, then half the length."""
    if config.per_device_train_batch_size > 1:
        batch = smaller_batch(config)
        if batch:
            return with_batch(config, batch), length
    if may_quantise and config.load_in != "4bit":
        return _changed(config, load_in="4bit"), length
    if length > SHORTEST:
        return _changed(config, max_seq_length=length // 2), length // 2
    return None


def with_batch(config: TrainConfig, batch: int) -> TrainConfig:
    """The same effective batch in pieces of `batch` rows, as far as that divides it."""
    steps = min(MAX_ACCUMULATION, -(-config.effective_batch_size // batch))
    return _changed(config, per_device_train_batch_size=batch, gradient_accumulation_steps=steps)


def smaller_batch(config: TrainConfig) -> int:
    """The next smaller batch that divides the effective one; 0 where that takes more accumulation than there may be."""
    effective, half = config.effective_batch_size, config.per_device_train_batch_size // 2
    found = next(batch for batch in range(half, 0, -1) if effective % batch == 0)
    return found if effective // found <= MAX_ACCUMULATION else 0


def _changed(config: TrainConfig, **values: object) -> TrainConfig:
    return TrainConfig.model_validate(config.model_dump() | values)
