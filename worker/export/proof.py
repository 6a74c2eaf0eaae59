"""A finished GGUF is loaded by real llama.cpp and held against the merged model it was made from."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from worker.child import Child, JobError
from worker.export import reference, tool
from worker.export.files import write_text
from worker.export.llama_side import Answer, Ask, AskedPrompt, Reply, Step
from worker.export.reference import Prompt
from worker.trainer.foreign_code import is_allowed
from worker.trainer.specs import ExportSpec

#: llama.cpp writes this many tokens per question; each is compared with what the merged model would have written.
MAX_NEW_TOKENS = 48
#: Two tokens this close in log-probability may change places between two ways of rounding.
NEAR_TIE = 0.1
#: Mean divergence in nats per token and share of equal choices. A right q4_k_m of a 135 M model measures 0.06 and 0.89,
#: q8_0 0.004 and 0.98, f16 0.000005 and 1.
_SAME, _CLOSE = (1e-3, 0.99), (0.25, 0.75)
_EXACT_KINDS = ("f16", "bf16", "q8_0")
_ASKED = re.compile(r"^asked (\d+)/(\d+)$")
_OTHER_WAY = "The adapter and the merged 16-bit model are not touched by this and can be taken away."


@dataclass(frozen=True)
class _Step:
    """One token that llama.cpp wrote, seen from the merged model."""

    kl: float
    same: bool
    logprob_diff: float


def prove(child: Child, spec: ExportSpec, gguf: Path, merged: Path) -> dict[str, Any]:
    """The proof of `gguf`. Raises `JobError` when llama.cpp can't load it, or reads or answers questions otherwise."""
    started = time.monotonic()
    child.events.phase("proving", detail="asking llama.cpp")
    tokenizer = reference.load_tokenizer(merged, foreign_code=is_allowed(spec.model))
    asked = reference.prompts(tokenizer, spec.asked)
    answer = _ask(child, gguf, asked, max(1, spec.threads))
    for prompt, reply in zip(asked, answer.replies, strict=True):
        _must_read_alike(prompt, reply)
    child.stop_point()
    child.events.phase("proving", detail="asking the merged model")
    model = reference.load_model(merged, reference.working_dtype(merged), foreign_code=is_allowed(spec.model))
    steps = _compare(child, model, asked, answer.replies)
    proof = _report(asked, answer, steps, tokenizer)
    proof["seconds"] = round(time.monotonic() - started, 1)
    if proof["verdict"] == "differs" and spec.quant in _EXACT_KINDS:
        raise JobError(
            "bug",
            f"The GGUF does not answer like the merged model, so it is not handed out. {proof['sentence']}",
            _OTHER_WAY,
        )
    return proof


def _ask(child: Child, gguf: Path, asked: Sequence[Prompt], threads: int) -> Answer:
    prompts = [AskedPrompt(messages=[dict(m) for m in p.messages], text=p.text, ids=p.ids) for p in asked]
    ask = Ask(model=gguf, prompts=prompts, threads=threads, max_new_tokens=MAX_NEW_TOKENS)
    question, answer = tool.scratch(child) / "ask.json", tool.scratch(child) / "answer.json"
    write_text(question, ask.model_dump_json())
    progress = tool.Progress(child, "proving", "questions", "asking llama.cpp")

    def tell(line: str) -> None:
        if found := _ASKED.match(line):
            progress.to(int(found[1]), int(found[2]))

    try:
        tool.run(
            child,
            tool.command("worker.export.llama_side", question, answer),
            env=tool.environment(tool.scratch(child), threads),
            cwd=tool.scratch(child),
            on_line=tell,
        )
        return Answer.model_validate_json(answer.read_bytes())
    except tool.ToolFailed as failed:
        raise _not_loaded(failed) from failed


def _not_loaded(failed: tool.ToolFailed) -> JobError:
    found = re.findall(r"(?:RuntimeError|error|exception)[^\n]*", failed.output)
    words = found[-1] if found else f"it ended with code {failed.code}"
    return JobError("not_supported", f"llama.cpp could not load or ask the finished GGUF: “{words[:500]}”.", _OTHER_WAY)


def _must_read_alike(prompt: Prompt, reply: Reply) -> None:
    """llama.cpp takes the first token's text out of the template's output and sets the token itself."""
    if reply.template != prompt.text and not prompt.text.endswith(reply.template):
        raise JobError(
            "not_supported",
            "The GGUF writes a conversation otherwise than the model was trained on: its chat template gives "
            f"{_excerpt(reply.template, prompt.text)} instead of {_excerpt(prompt.text, reply.template)}.",
            f"llama.cpp does not support all of this chat template. {_OTHER_WAY}",
        )
    if reply.tokens != prompt.ids:
        at = next((i for i, (a, b) in enumerate(zip(reply.tokens, prompt.ids, strict=False)) if a != b), -1)
        raise JobError(
            "not_supported",
            f"The GGUF splits a question into other tokens than the model was trained on (from token {at} on: "
            f"{reply.tokens[at : at + 5]} instead of {prompt.ids[at : at + 5]}).",
            f"llama.cpp does not know this tokenizer exactly. {_OTHER_WAY}",
        )


def _excerpt(text: str, other: str) -> str:
    """Forty characters of `text` from where it leaves `other`."""
    at = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))
    return repr(text[max(0, at - 10) : at + 30])


def _compare(child: Child, model: Any, asked: Sequence[Prompt], replies: Sequence[Reply]) -> list[list[_Step]]:
    """Read each of llama.cpp's answers once with the merged model, token by token."""
    found = []
    for number, (prompt, reply) in enumerate(zip(asked, replies, strict=True), start=1):
        child.stop_point()
        written = [step.id for step in reply.steps]
        table = reference.logprobs(model, [*prompt.ids, *written], last=len(written) + 1)
        found.append([_step(row, step) for row, step in zip(table, reply.steps, strict=False)])
        child.events.phase("proving", number, len(asked), "questions", "asking the merged model")
    reference.release(model)
    return found


def _step(row: torch.Tensor, step: Step) -> _Step:
    """Divergence over llama.cpp's top tokens and one bucket for all others (a lower bound, tight in practice)."""
    ids = torch.tensor([token for token, _ in step.top])
    theirs = torch.tensor([logprob for _, logprob in step.top], dtype=torch.float64).clamp(min=-100)
    ours = row[ids].double()
    rest_ours, rest_theirs = _rest(ours), _rest(theirs)
    kl = (ours.exp() * (ours - theirs)).sum().item() + rest_ours * math.log(rest_ours / rest_theirs)
    return _Step(
        kl=max(0.0, kl),
        same=(row.max() - row[step.id]).item() < NEAR_TIE,
        logprob_diff=(ours - theirs)[: reference.TOP].abs().max().item(),
    )


def _rest(logprobs: torch.Tensor) -> float:
    return max(1e-9, 1.0 - logprobs.exp().sum().item())


def _report(
    asked: Sequence[Prompt], answer: Answer, steps: Sequence[Sequence[_Step]], tokenizer: Any
) -> dict[str, Any]:
    every = [step for one in steps for step in one]
    kl = sum(step.kl for step in every) / max(1, len(every))
    same = sum(step.same for step in every) / max(1, len(every))
    first = max((one[0].logprob_diff for one in steps if one), default=0.0)
    verdict = verdict_of(kl, same)
    return {
        "llama_cpp": f"xllamacpp {version('xllamacpp')}",
        "template_equal": True,
        "tokens_equal": True,
        "first_token_logprob_diff": round(first, 5),
        "mean_kl": kl,
        "same_choice": round(same, 4),
        "tokens_compared": len(every),
        "answers": [_answer(p, r, tokenizer) for p, r in zip(asked, answer.replies, strict=True)],
        "verdict": verdict,
        "sentence": _sentence(verdict, kl, same, len(every), len(asked)),
    }


def verdict_of(mean_kl: float, same_choice: float) -> str:
    """`same`, `close` or `differs`, from divergence (nats per token) and share of equal choices."""
    for word, (most_kl, least_same) in (("same", _SAME), ("close", _CLOSE)):
        if mean_kl < most_kl and same_choice >= least_same:
            return word
    return "differs"


def _sentence(verdict: str, kl: float, same: float, tokens: int, questions: int) -> str:
    head = {
        "same": "Answers like the trained model",
        "close": "Answers nearly like the trained model; rounding shows",
        "differs": "Answers visibly differ from the trained model: choose a larger kind, such as q8_0",
    }[verdict]
    asked = "one question" if questions == 1 else f"{questions} questions"
    return (
        f"{head}. Real llama.cpp wrote {tokens} tokens in answer to {asked}; at {same:.0%} of them the "
        f"merged model would have chosen the same one (mean divergence {kl:.1e} nats)."
    )


def _answer(prompt: Prompt, reply: Reply, tokenizer: Any) -> dict[str, Any]:
    """llama.cpp's answer beside the tuned model's own, as far as both were written."""
    out: dict[str, Any] = {"prompt": prompt.question.prompt, "gguf": reply.text, "tuned": prompt.tuned}
    if prompt.tuned:
        ours = tokenizer(prompt.tuned.strip(), add_special_tokens=False)["input_ids"]
        theirs = tokenizer(reply.text.strip(), add_special_tokens=False)["input_ids"]
        pairs = list(zip(ours, theirs, strict=False))
        equal = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
        out |= {"equal_prefix_tokens": equal, "tokens_compared": len(pairs)}
    return out
