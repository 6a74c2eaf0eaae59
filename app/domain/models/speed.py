"""How fast a card will train, roughly, before anything was measured on it.

A batch takes as long as the card calculates or as the processor launches the work, whichever is longer. The constants
were fitted to measured runs (`benchmarks/results/`); other machines differ, so what follows is an interval.
"""

from __future__ import annotations

from app.domain.jobs.config import TrainConfig
from app.domain.models.memory import EngineName
from app.domain.models.shapes import Shape

#: 16-bit dense TFLOPS from the makers' data sheets, by a part of the name the driver gives; the first match counts.
_TFLOPS = (
    ("H200", 989), ("H100", 989), ("GH200", 989), ("B200", 2250), ("A100", 312), ("L40", 362), ("L4", 121),
    ("A10", 125), ("RTX 5090", 209), ("RTX 4090", 165), ("RTX 3090", 71), ("RTX 4080", 97), ("RTX 3060", 51),
    ("A6000", 155), ("V100", 125), ("T4", 65),
)  # fmt: skip
#: Share of them that a fine-tune reaches when the card is busy.
_REACHED = {"hf": 0.35, "unsloth": 0.5}
#: Seconds the processor needs to launch one block, there and back.
_LAUNCH = {("hf", True): 0.016, ("hf", False): 0.0085, ("unsloth", True): 0.0098, ("unsloth", False): 0.0058}


def tflops(card: str) -> float:
    """Of the card with this name; 0 for one that is not known."""
    return next((float(value) for part, value in _TFLOPS if part in card), 0.0)


def tokens_per_second(
    shape: Shape,
    config: TrainConfig,
    mean_length: float,
    engine: EngineName,
    card_tflops: float,
    *,
    checkpointing: bool,
) -> float:
    """Tokens trained on in a second on one card, when rows have `mean_length` tokens."""
    tokens = config.per_device_train_batch_size * mean_length
    # Forward and back through frozen weights: 2 + 2 operations a weight and token; once more forward if computed twice.
    passes = 3 if checkpointing else 2
    # Each token looks back at half of the others: two products of hidden size in each block.
    attention = shape.layers * shape.hidden * mean_length * 2 * (passes + 1)
    work = (2 * passes * shape.parameters + attention) * tokens
    calculating = work / (card_tflops * 1e12 * _REACHED[engine])
    return tokens / max(calculating, shape.layers * _LAUNCH[engine, checkpointing])
