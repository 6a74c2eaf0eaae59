"""Answers of the model that was just trained, against a fresh load of the adapter it saved.

python -m benchmarks.gpu.answers asked JOB_DIR OUT            train with the job's engine, ask, write the token ids
python -m benchmarks.gpu.answers fresh JOB_DIR OUT ASKED      plain transformers + PEFT: would it have chosen the same?
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
NEW_TOKENS = 16
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


def questions() -> list[str]:
    """Two hundred different ones."""
    return [form.format(thing) for thing in _ABOUT for form in _ASKED][:COUNT]


def asked(job_dir: Path, out: Path) -> None:
    """The product's own steps, with more questions than a job may have."""
    spec = read_spec(job_dir, TrainSpec)
    set_environment(0)
    child = Child(job_dir, Emitter(job_dir, None), Control(job_dir), {})
    from worker.trainer.engines import start_engine

    engine = start_engine(spec.config, child)
    from transformers import set_seed

    from worker.trainer import recipe

    folder = Path(spec.config.base_model)
    chat = recipe.load_chat(folder)
    tokens = recipe.load_tokens(chat, child, spec.config.max_seq_length, None)
    settled = recipe._settle(folder, spec, tokens, engine, child)  # noqa: SLF001 - its very steps
    model = recipe._load(folder, settled, tokens.max_seq_length, engine, child)  # noqa: SLF001
    set_seed(spec.config.seed)
    model = engine.attach_lora(model, settled)
    recipe._before(model, chat, tokens, spec, engine, child)  # noqa: SLF001
    recipe._train(model, chat, tokens, spec, settled, engine, child)  # noqa: SLF001
    recipe._save_adapter(model, chat, spec.config, engine, child)  # noqa: SLF001
    with engine.answering(model):
        out.write_text(json.dumps(_all(model, chat)))


def _all(model: Any, chat: Any) -> list[list[int]]:
    """New token ids of each answer, greedy, one by one."""
    import torch

    from app.domain.jobs.config import TrainConfig
    from worker.trainer.answers import generation

    settings = generation(chat, TrainConfig(base_model="-", max_new_tokens=NEW_TOKENS))
    answers = []
    for question in questions():
        ids = torch.tensor([chat.ids(chat.prompt("", question))], device=model.device)
        with torch.inference_mode():
            new = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        answers.append(new[0, ids.shape[1] :].tolist())
    return answers


def fresh(job_dir: Path, out: Path, asked_file: Path) -> None:
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
    gaps: list[float] = []
    tokens = 0
    for question, answer in zip(questions(), json.loads(asked_file.read_text()), strict=True):
        found = gaps_of(model, chat.ids(chat.prompt("", question)), answer)
        tokens += len(found)
        gaps += [gap for gap in found if gap > 0]
    verdict = {
        "answers": COUNT,
        "tokens": tokens,
        "equal tokens": 1 - len(gaps) / tokens,
        "gaps where another token would have been chosen, in nats": [round(gap, 3) for gap in sorted(gaps)],
    }
    out.write_text(json.dumps({"verdict": verdict}))


if __name__ == "__main__":
    {"asked": asked, "fresh": fresh}[sys.argv[1]](*(Path(word).resolve() for word in sys.argv[2:]))
