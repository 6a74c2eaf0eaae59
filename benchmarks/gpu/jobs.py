"""Fine-tunes of SmolLM2 on the sample sets, for the checks."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.cells import Cell, job_folder
from benchmarks.gpu.runs import ROOT
from worker.trainer.specs import TRAIN_ROWS, VALIDATION_ROWS

SAMPLES = {"messages": "fortune_teller.jsonl", "reasoning": "fortune_teller_reasoning.jsonl"}
QUESTIONS = [{"prompt": "What is the capital of France?"}, {"prompt": "Will I be happy next year?"}]
Found = dict[str, Any]


def sample_job(work: Path, name: str, sample: str, **changes: Any) -> Path:
    """A fine-tune of SmolLM2 on one of the sample sets, every tenth row held out."""
    folder = work / f"prove-{name}-{time.time_ns()}"
    cell = Cell("smol", 1024, changes.pop("load_in", "none"))
    settings = {"max_steps": 24, "learning_rate": 1e-3, "max_new_tokens": 48, "eval_steps": 12, "save_steps": 12}
    engine = changes.pop("engine")
    job_folder(folder, cell, engine, work / "smol", **({"questions": QUESTIONS} | settings | changes))
    lines = canonical_rows(sample)
    (folder / TRAIN_ROWS).write_text("".join(line for n, line in enumerate(lines) if n % 10))
    (folder / VALIDATION_ROWS).write_text("".join(line for n, line in enumerate(lines) if not n % 10))
    return folder


def canonical_rows(sample: str) -> list[str]:
    """The sample's rows as the intake would write them."""
    out = []
    for line in (ROOT / "samples" / SAMPLES[sample]).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "messages" not in row:
            answer = {"role": "assistant", "content": row["Response"], "reasoning": row["Complex_CoT"]}
            row = {"messages": [{"role": "user", "content": row["Question"]}, answer]}
        out.append(json.dumps(row, ensure_ascii=False) + "\n")
    return out
