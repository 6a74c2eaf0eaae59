"""A second look at the answers: read in one pass, without a cache, each token must be the model's own first choice.

Generation has code paths of its own (caches, fused kernels, padding) that were seen to go wrong while the model was
right. Two answers a side cost two passes, and tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from app.domain.jobs.config import TrainConfig
from worker.child import Child
from worker.trainer.answers import Side, generate
from worker.trainer.chat import Chat
from worker.trainer.protocol import Score

#: Answers looked at on each side.
_ANSWERS = 2
#: Tokens of each that are looked at, at most.
_TOKENS = 64
#: Nats a token may lie below the likeliest one: two that are nearly as likely change places with rounding.
NEAR_TIE = {torch.float32: 0.1, torch.float16: 0.25, torch.bfloat16: 0.5}
_SCORE = "answers_reread"


@dataclass(frozen=True)
class Reread:
    """How many tokens were looked at, how many are the model's own choice, and the widest gap in nats."""

    tokens: int
    agreed: int
    widest: float


def check_answers(model: Any, chat: Chat, config: TrainConfig, side: Side, child: Child) -> None:
    """Look again at the first answers; the share of tokens that agree is a score, and a difference is told."""
    found = [
        reread(model, prompt, _greedy(model, chat, config, prompt, child))
        for prompt in (chat.ids(chat.prompt(q.system, q.prompt)) for q in config.questions[:_ANSWERS])
    ]
    tokens, agreed = sum(one.tokens for one in found), sum(one.agreed for one in found)
    if not tokens:
        return
    child.events.emit(Score(name=_SCORE, side=side, value=agreed / tokens))
    if agreed < tokens:
        child.events.log(
            f"Read again in one pass, {tokens - agreed} of {tokens} tokens of the answers {side} training are not the "
            f"model's own choice (by up to {max(one.widest for one in found):.2f} nats). The adapter itself is not "
            "touched by this; compare with the answers of the exported model.",
            "warning",
        )


def _greedy(model: Any, chat: Chat, config: TrainConfig, prompt: list[int], child: Child) -> list[int]:
    """The likeliest words, whatever temperature the job asks for."""
    short = config.model_copy(update={"temperature": 0.0, "max_new_tokens": min(config.max_new_tokens, _TOKENS)})
    return generate(model, chat, short, prompt, child.stop_point)


def reread(model: Any, prompt: list[int], answer: list[int]) -> Reread:
    """Compare `answer`, token ids that followed `prompt`, with the model's choices in one pass over both."""
    gaps = gaps_of(model, prompt, answer)
    tie = NEAR_TIE[model.dtype]
    return Reread(len(answer), sum(gap <= tie for gap in gaps), max(gaps, default=0.0))


def gaps_of(model: Any, prompt: list[int], answer: list[int]) -> list[float]:
    """For each token of `answer`, nats between it and the likeliest one; 0.0 where it is the likeliest."""
    if not answer:
        return []
    ids = torch.tensor([prompt + answer], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    chances = logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
    gaps = chances.max(-1).values - chances.gather(-1, ids[0, len(prompt) :, None])[:, 0]
    found: list[float] = gaps.tolist()
    return found
