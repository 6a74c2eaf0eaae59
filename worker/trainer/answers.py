"""The questions of a job, asked before and after training with the same seed and sampling.

One by one and unpadded: batches change answers (padding side, near ties), and a handful of questions is quick.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from app.domain.jobs.config import Question, TrainConfig
from worker.child import Child
from worker.trainer.chat import Chat
from worker.trainer.protocol import Answer
from worker.trainer.rows import split_reasoning

Side = Literal["before", "after"]


def ask_all(
    model: Any, chat: Chat, config: TrainConfig, side: Side, child: Child, answered: tuple[tuple[str, int], ...]
) -> int:
    """Emit the answer to each question that has none on this side yet; how many those were.

    `model` must be in its answering mode.
    """
    open_ones = [i for i in range(len(config.questions)) if (side, i) not in answered]
    phase = f"answering_{side}"
    for done, index in enumerate(open_ones):
        child.events.phase(phase, done=done, total=len(open_ones), unit="answers")
        child.events.emit(ask(model, chat, config, index, side, child.stop_point))
    if open_ones:
        child.events.phase(phase, done=len(open_ones), total=len(open_ones), unit="answers")
    return len(open_ones)


def ask(model: Any, chat: Chat, config: TrainConfig, index: int, side: Side, stop_point: Callable[[], None]) -> Answer:
    """One answer. Sampling starts from the job's seed and the question's number, on both sides alike."""
    question: Question = config.questions[index]
    prompt = chat.prompt(question.system, question.prompt)
    torch.manual_seed(config.seed + index)
    started = time.perf_counter()
    new = generate(model, chat, config, chat.ids(prompt), stop_point)
    ended = bool(new) and new[-1] in chat.stop_ids
    text = chat.tokenizer.decode(
        new[:-1] if ended else new, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    reasoning, reply = split_reasoning("<think>\n" + text if chat.opens_think else text)
    return Answer(
        prompt=index,
        side=side,
        text=reply.strip(),
        reasoning=reasoning.strip(),
        tokens=len(new),
        seconds=round(time.perf_counter() - started, 3),
        stopped="end" if ended else "length",
    )


def generate(
    model: Any, chat: Chat, config: TrainConfig, prompt: list[int], stop_point: Callable[[], None]
) -> list[int]:
    """Ids of the tokens that follow `prompt`."""
    ids = torch.tensor([prompt], device=model.device)
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=generation(chat, config),
            stopping_criteria=StoppingCriteriaList([_StopPoint(stop_point)]),
        )
    new: list[int] = out[0, len(prompt) :].tolist()
    return new


def generation(chat: Chat, config: TrainConfig) -> GenerationConfig:
    """Nothing is left to the model's own generation settings, so that both sides and both engines sample alike."""
    sampling = {"do_sample": True, "temperature": config.temperature, "top_p": 1.0, "top_k": 0}
    return GenerationConfig(
        max_new_tokens=config.max_new_tokens,
        eos_token_id=list(chat.stop_ids),
        pad_token_id=chat.tokenizer.pad_token_id,
        use_cache=True,
        repetition_penalty=1.0,
        **(sampling if config.temperature > 0 else {"do_sample": False}),
    )


class _StopPoint(StoppingCriteria):
    """Heeds a cancel between two tokens."""

    def __init__(self, stop_point: Callable[[], None]) -> None:
        self._stop_point = stop_point

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:  # noqa: ARG002
        self._stop_point()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
