"""What is measured: a model, a length, how it is loaded, and what its rows are like."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.trainer.specs import TRAIN_ROWS, VALIDATION_ROWS, ModelSpec, TrainSpec, write_spec

ENGINES = ("hf", "unsloth")
_WORDS = (
    "water", "stone", "river", "night", "morning", "letter", "window", "garden", "silver", "bread", "winter", "answer",
    "market", "paper", "candle", "thunder", "children", "mountain", "forest", "kitchen", "soldier", "music", "shadow",
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One line of the table; `steps` are run after `warm_up` steps that do not count."""

    model: str
    length: int
    load_in: str = "none"
    rows: str = "full"  # full: each as long as the sequence · short: some 130 tokens · packed: short ones, packed
    steps: int = 8
    warm_up: int = 4
    batch: int = 2
    accumulation: int = 4
    #: Of activations.
    checkpointing: str = "on"

    @property
    def name(self) -> str:
        """As `--only` takes it."""
        return "-".join(
            filter(
                None,
                (
                    self.model,
                    str(self.length),
                    self.load_in,
                    self.rows if self.rows != "full" else "",
                    f"batch{self.batch}" if self.batch != 2 else "",
                    "once" if self.checkpointing == "off" else "",
                ),
            )
        )


CORE = (Cell("1b", 2048, steps=8), Cell("8b", 2048, "4bit", steps=5, warm_up=3))
#: Keeps the card busy: steps of small batches are as long as the processor takes to launch them, which varies.
BUSY = Cell("1b", 2048, steps=6, warm_up=2, batch=8, accumulation=2)
ALL = (
    *CORE,
    Cell("smol", 512, steps=16),
    Cell("smol", 2048),
    Cell("smol", 8192, steps=5, warm_up=3),
    Cell("1b", 512, steps=12),
    Cell("1b", 8192, steps=3, warm_up=2),
    Cell("1b", 2048, "4bit"),
    Cell("1b", 2048, rows="short", steps=16),
    Cell("1b", 2048, rows="packed"),
    Cell("8b", 512, "4bit"),
    Cell("8b", 8192, "4bit", steps=2, warm_up=1),
    Cell("8b", 2048, "none", steps=5, warm_up=3),
    Cell("8b", 2048, "4bit", rows="short"),
    Cell("8b", 2048, "4bit", rows="packed", steps=5, warm_up=3),
    Cell("smol", 2048, checkpointing="off"),
    Cell("1b", 512, checkpointing="off"),
    Cell("1b", 2048, checkpointing="off"),
    Cell("8b", 2048, "4bit", steps=5, warm_up=3, checkpointing="off"),
)


def rows_of(cell: Cell, count: int) -> list[dict[str, Any]]:
    """Canonical rows, the same every time: a short question, and an answer as long as the cell wants."""
    rng = random.Random(cell.length)
    return [_row(rng, cell.length if cell.rows == "full" else rng.randint(30, 170)) for _ in range(count)]


def _row(rng: random.Random, words: int) -> dict[str, Any]:
    answer = " ".join(rng.choice(_WORDS) for _ in range(words))
    question = " ".join(rng.choice(_WORDS) for _ in range(12))
    return {"messages": [{"role": "user", "content": f"{question}?"}, {"role": "assistant", "content": answer}]}


def job_folder(folder: Path, cell: Cell, engine: str, model: Path, **changes: Any) -> Path:
    """A job for the trainer: no questions, nothing held out, checkpoints only at the end."""
    folder.mkdir(parents=True)
    total = cell.warm_up + cell.steps
    count = total * cell.batch * cell.accumulation
    lines = rows_of(cell, count * 20 if cell.rows == "packed" else count)
    (folder / TRAIN_ROWS).write_text("".join(json.dumps(row) + "\n" for row in lines))
    (folder / VALIDATION_ROWS).write_text("")
    config = {
        "base_model": str(model),
        "engine": engine,
        "load_in": cell.load_in,
        "max_steps": total,
        "max_seq_length": cell.length,
        "per_device_train_batch_size": cell.batch,
        "gradient_accumulation_steps": cell.accumulation,
        "packing": cell.rows == "packed",
        "gradient_checkpointing": cell.checkpointing,
        "fit_memory": False,
        "save_steps": total,
        "validation_split": 0.0,
    }
    where = ModelSpec(base_model=str(model), model_cache=folder / "models", offline=True)
    write_spec(folder, TrainSpec.model_validate({"config": config | changes, "model": where}))
    return folder
