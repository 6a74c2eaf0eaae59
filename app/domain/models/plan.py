"""What is chosen for a card where the settings leave it open: precision, bits, batch, checkpointing, optimiser.

The form shows it for the best card it knows; the trainer does it for the card it runs on. Pure: knows no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.jobs.config import FOUR_BIT_FROM, TrainConfig
from app.domain.models.memory import EngineName, estimate, smaller_batch, with_batch
from app.domain.models.shapes import Shape

#: From this compute capability on (Ampere), a card calculates in bfloat16; a T4 (7.5) or V100 (7.0) does not.
BF16_FROM = (8, 0)
#: What makes a training faster may take this share of the card's memory, and no more.
_ROOMY = 0.5
#: Weights times tokens of one batch from which on a card has enough to do: smaller batches are as slow as the
#: processor takes to launch them. From measured runs: an 8 B model at 4,096 tokens gains nothing from more, a 1.2 B
#: model at 16,384 tokens is 2.6 times as fast as at 4,096.
_BUSY = 8e9 * 4096


@dataclass(frozen=True)
class Card:
    """One CUDA card: bytes that a job may take, and its compute capability."""

    memory: int
    capability: tuple[int, int] = BF16_FROM


@dataclass(frozen=True)
class Plan:
    """The choices. `config` has the batch and accumulation that are used; its effective batch is the wanted one's."""

    config: TrainConfig
    #: `bf16` or `fp16` on a card, `fp32` on the CPU.
    precision: str
    #: The weights are brought into 4 bits while they are loaded.
    four_bit: bool
    gradient_checkpointing: bool
    attention: str
    optim: str
    #: What differs from the usual, and why; each a sentence.
    notes: tuple[str, ...] = ()


def precision_of(config: TrainConfig, card: Card) -> str:
    """`bf16` where the card has it, else `fp16`; or what was asked for."""
    if config.precision != "auto":
        return config.precision
    return "bf16" if card.capability >= BF16_FROM else "fp16"


def plan(
    config: TrainConfig,
    shape: Shape | None,
    length: int,
    engine: EngineName,
    card: Card,
    *,
    bits: bool = True,
    mean_length: float = 0.0,
) -> Plan:
    """The choices for one card. `shape` None: nothing can be said of the memory, and the batch stays as it is.

    `length`, `mean_length`: tokens of the longest row and of a usual one (0: as the longest). `bits`: whether
    bitsandbytes is there, for 4-bit weights and the 8-bit optimiser.
    """
    notes: list[str] = []
    precision = precision_of(config, card)
    if precision == "fp16" and config.precision == "auto":
        notes.append("This card does not calculate in bfloat16: the training runs in float16.")
    settled = config
    if shape is not None:
        settled = _bits(settled, shape, length, engine, card, notes, bits=bits)
        if config.fit_memory:
            settled = _batch(settled, shape, length, engine, card, notes)
            settled = _larger(settled, shape, length, engine, card, notes, mean_length or length)
    again = settled.gradient_checkpointing != "off"
    if shape is not None and settled.gradient_checkpointing == "auto":
        again = not _roomy(settled, shape, length, engine, card)
    return Plan(
        config=settled,
        precision=precision,
        four_bit=settled.load_in == "4bit" and not (shape and shape.four_bit),
        gradient_checkpointing=again,
        attention="sdpa" if config.attention == "auto" else config.attention,
        optim=config.optim if config.optim != "auto" else "adamw_8bit" if bits else "adamw_torch",
        notes=tuple(notes),
    )


def _bits(
    config: TrainConfig, shape: Shape, length: int, engine: EngineName, card: Card, notes: list[str], *, bits: bool
) -> TrainConfig:
    """4-bit weights for large models, and for smaller ones that the card would not hold otherwise."""
    if config.load_in != "auto" or shape.four_bit:
        return config
    whole = config.model_copy(update={"load_in": "none"})
    if not bits:
        return whole
    if shape.parameters >= FOUR_BIT_FROM:
        return config.model_copy(update={"load_in": "4bit"})
    least = with_batch(whole, 1)
    if estimate(shape, least, length, engine, checkpointing=True).verdict(card.memory) == "no":
        notes.append("The model is loaded in 4 bits: in 16 bits this card would not hold it.")
        return config.model_copy(update={"load_in": "4bit"})
    return whole


def _batch(
    config: TrainConfig, shape: Shape, length: int, engine: EngineName, card: Card, notes: list[str]
) -> TrainConfig:
    """The largest batch, not above the wanted one, that fits; the rows a step sees stay the same."""
    settled = config
    while settled.per_device_train_batch_size > 1:
        if estimate(shape, settled, length, engine).verdict(card.memory) != "no":
            break
        batch = smaller_batch(settled)
        if not batch:
            break
        settled = with_batch(settled, batch)
    if settled is not config:
        batch, steps = settled.per_device_train_batch_size, settled.gradient_accumulation_steps
        notes.append(f"Batch size {batch} with accumulation {steps}, to fit this card: as many rows a step as asked.")
    return settled


def _larger(
    config: TrainConfig,
    shape: Shape,
    length: int,
    engine: EngineName,
    card: Card,
    notes: list[str],
    mean_length: float,
) -> TrainConfig:
    """As many rows at once, of those that a step sees, as keep a roomy card busy."""
    rows, now = config.effective_batch_size, config.per_device_train_batch_size
    enough = _BUSY / shape.parameters / mean_length
    for batch in (size for size in range(rows, now, -1) if rows % size == 0 and size <= max(now, enough)):
        larger = with_batch(config, batch)
        if _total(larger, shape, length, engine, checkpointing=True) <= card.memory * _ROOMY:
            notes.append(
                f"Batch size {batch} with accumulation {rows // batch}: this card has room, and it is faster. "
                "As many rows a step as asked."
            )
            return larger
    return config


def _total(config: TrainConfig, shape: Shape, length: int, engine: EngineName, *, checkpointing: bool) -> int:
    return estimate(shape, config, length, engine, checkpointing=checkpointing).total


def _roomy(config: TrainConfig, shape: Shape, length: int, engine: EngineName, card: Card) -> bool:
    return _total(config, shape, length, engine, checkpointing=False) <= card.memory * _ROOMY


def for_devices(config: TrainConfig, count: int) -> tuple[TrainConfig, tuple[str, ...]]:
    """Settings for each of `count` devices, that together see as many rows a step as one would; what to say."""
    if count == 1:
        return config, ()
    wanted, batch = config.effective_batch_size, config.per_device_train_batch_size
    share = -(-wanted // count)
    batch = next(size for size in range(min(batch, share), 0, -1) if share % size == 0)
    changed = config.model_copy(
        update={"per_device_train_batch_size": batch, "gradient_accumulation_steps": share // batch}
    )
    each = f"{count} devices, each with batch size {batch} and accumulation {share // batch}"
    rows = f"{share * count} rows a step" + (f" instead of {wanted}" if share * count != wanted else ", as asked")
    return changed, (f"{each}: {rows}.",)
