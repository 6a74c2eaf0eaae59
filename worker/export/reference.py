"""The Hugging Face side of every proof: the same questions, rendered, tokenised and asked of a model in PyTorch."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from app.domain.jobs.config import Question
from worker.trainer.chat import Chat, chat_of
from worker.trainer.rows import Message
from worker.trainer.specs import AskedQuestion

#: Asked where the job brings no questions: a proof needs at least one.
PROBE = AskedQuestion(question=Question(prompt="What is the capital of France?"))
#: Next-token distributions are compared on the reference's most likely tokens.
TOP = 10
_FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Prompt:
    """A question as the model sees it: the template's text, and its token ids."""

    question: Question
    tuned: str
    messages: list[Message]
    text: str
    ids: list[int]


def load_tokenizer(folder: Path, *, foreign_code: bool) -> Any:
    """The tokenizer that lies in `folder`; nothing is fetched."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=foreign_code)


def prompts(tokenizer: Any, asked: Sequence[AskedQuestion]) -> list[Prompt]:
    """The job's questions (or one of our own) as answers are asked: system, user, generation prompt."""
    chat = chat_of(tokenizer)
    return [_prompt(chat, one) for one in (asked or (PROBE,))]


def _prompt(chat: Chat, asked: AskedQuestion) -> Prompt:
    question = asked.question
    turns: list[Message] = [{"role": "user", "content": question.prompt}]
    if question.system:
        turns.insert(0, {"role": "system", "content": question.system})
    messages = chat.fit(turns)
    text = chat.render(messages, ask=True)
    return Prompt(question, asked.answer, messages, text, chat.ids(text))


def weights_size(folder: Path) -> int:
    """Bytes of the safetensors files in `folder`."""
    return sum(p.stat().st_size for p in folder.glob("*.safetensors"))


def working_dtype(folder: Path) -> torch.dtype:
    """float32 where the weights fit in half of the free memory that way, else the 16 bits they are stored in."""
    wanted = weights_size(folder) // 2 * _FLOAT32_BYTES
    return torch.float32 if wanted < psutil.virtual_memory().available / 2 else torch.bfloat16


def load_model(folder: Path, dtype: torch.dtype, *, foreign_code: bool) -> Any:
    """The causal model in `folder` on the CPU, ready to be asked; nothing is fetched."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, local_files_only=True, trust_remote_code=foreign_code, use_safetensors=True
    )
    return model.eval()


def release(model: Any) -> None:
    """Give a model's memory back; the caller drops its own name for it."""
    model.to("meta")
    gc.collect()


@torch.inference_mode()
def logprobs(model: Any, ids: Sequence[int], last: int = 1) -> torch.Tensor:
    """Log-probabilities of the token after each of the last `last` positions: (last, vocabulary), float32."""
    logits = model(torch.tensor([list(ids)]), logits_to_keep=last).logits[0, -last:]
    return torch.log_softmax(logits.float(), dim=-1)


@dataclass(frozen=True)
class Drift:
    """How far one model's next-token distributions lie from another's, over `tokens` positions."""

    tokens: int
    same_choice: float  #: share of positions where both would choose the same token
    mean_kl: float  #: nats per token
    first_token_logprob_diff: float  #: largest difference among the reference's top tokens


def drift(reference: torch.Tensor, other: torch.Tensor) -> Drift:
    """Compare two (positions, vocabulary) tables of log-probabilities."""
    top = reference[0].topk(TOP).indices
    kl = (reference.exp() * (reference - other)).sum(-1).clamp(min=0)
    return Drift(
        tokens=len(reference),
        same_choice=(reference.argmax(-1) == other.argmax(-1)).float().mean().item(),
        mean_kl=kl.mean().item(),
        first_token_logprob_diff=(reference[0, top] - other[0, top]).abs().max().item(),
    )
