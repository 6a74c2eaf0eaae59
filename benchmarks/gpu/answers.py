"""Answers of the model that was just trained, against a fresh load of the adapter it saved.

python -m benchmarks.gpu.answers asked JOB_DIR OUT PART         train with the job's engine, ask, write the token ids
python -m benchmarks.gpu.answers fresh JOB_DIR OUT PART ASKED   plain transformers + PEFT: would it choose the same?

PART: each asks a part of the questions, for answers one by one take long.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from worker.child import Child
from worker.trainer.environment import set_environment
from worker.trainer.protocol import Control, Emitter
from worker.trainer.specs import ADAPTER_DIR, TrainSpec, read_spec

COUNT = 200
PARTS = 5
NEW_TOKENS = 12
_ABOUT = (
    "the sea", "bread", "winter", "my brother", "a long journey", "Paris", "the moon", "money", "music",
    "an old house", "the law", "sleep", "a lost key", "the number seven", "gravity", "tea", "football", "Rome",
    "ants", "hope",
)  # fmt: skip
_ASKED = (
    "What is {}?", "Tell me about {}.", "Why do people like {}?", "Will {} bring me luck?", "Write one sentence on {}.",
    "What do you see in {}?", "What should I know of {} before tomorrow?", "Is {} old?", "Explain {} to a child.",
    "Give me two facts on {}.",
)  # fmt: skip


def questions(part: int) -> list[str]:
    """Of two hundred different ones."""
    return [form.format(thing) for thing in _ABOUT for form in _ASKED][part:COUNT:PARTS]


def asked(job_dir: Path, out: Path, part: int) -> None:
    """The product's own fine-tune; once its adapter is saved, more questions than a job may have."""
    spec = read_spec(job_dir, TrainSpec)
    set_environment(0)
    child = Child(job_dir, Emitter(job_dir, None), Control(job_dir), {})
    from worker.trainer.engines import start_engine

    engine = start_engine(spec.config, child)
    from worker.trainer import recipe

    save = recipe._save_adapter  # noqa: SLF001 - its last step, with one more after it

    def save_and_ask(model: Any, chat: Any, *rest: Any) -> None:
        save(model, chat, *rest)
        with engine.answering(model):
            out.write_text(json.dumps(_all(model, chat, part)))

    recipe._save_adapter = save_and_ask  # type: ignore[assignment]  # noqa: SLF001
    recipe.train(spec, child, engine)


def _all(model: Any, chat: Any, part: int) -> list[list[int]]:
    """New token ids of each answer, greedy, one by one."""
    from app.domain.jobs.config import TrainConfig
    from worker.trainer.answers import generate

    settings = TrainConfig(base_model="-", max_new_tokens=NEW_TOKENS, temperature=0.0)
    prompts = [chat.ids(chat.prompt("", question)) for question in questions(part)]
    return [generate(model, chat, settings, prompt, lambda: None) for prompt in prompts]


def fresh(job_dir: Path, out: Path, part: int, asked_file: Path) -> None:
    """At each token of the answers: the choice of a fresh load that reads them in one pass."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from worker.trainer.chat import load_chat
    from worker.trainer.reread import gaps_of

    spec = read_spec(job_dir, TrainSpec)
    base = Path(spec.config.base_model)
    chat = load_chat(base)
    cuda = torch.cuda.is_available()
    model: Any = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.bfloat16 if cuda else torch.float32, device_map={"": 0} if cuda else None
    )
    model = PeftModel.from_pretrained(model, str(job_dir / ADAPTER_DIR)).eval()
    answers = json.loads(asked_file.read_text())
    prompts = [chat.ids(chat.prompt("", question)) for question in questions(part)]
    gaps = [gaps_of(model, prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    out.write_text(json.dumps({"answers": len(answers), "gaps": [gap for found in gaps for gap in found]}))


if __name__ == "__main__":
    what, job, to, number, *more = sys.argv[1:]
    if what == "asked":
        asked(Path(job).resolve(), Path(to).resolve(), int(number))
    else:
        fresh(Path(job).resolve(), Path(to).resolve(), int(number), Path(more[0]).resolve())
