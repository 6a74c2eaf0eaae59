"""The loss on held-out rows, before and after: the one number that needs no judge."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from worker.child import Child
from worker.trainer.answers import Side
from worker.trainer.protocol import Score
from worker.trainer.tokens import IGNORED, Encoded

#: Positions whose logits are turned to float32 at once: bounds the memory of a large vocabulary.
_CHUNK = 256
#: Rows between two words of progress.
_TELL_EVERY = 20


def score(model: Any, rows: Sequence[Encoded], side: Side, child: Child) -> None:
    """Emit `eval_loss` (nats per supervised token) and `perplexity` over `rows`; nothing when there are none."""
    if not rows:
        return
    loss = held_out_loss(model, rows, _progress(child, side, len(rows)))
    child.events.emit(Score(name="eval_loss", side=side, value=loss))
    child.events.emit(Score(name="perplexity", side=side, value=math.exp(min(loss, 100.0))))


def _progress(child: Child, side: Side, total: int) -> Callable[[], None]:
    """Called before each row: a stop point, and now and then a word of how far it is."""
    done = 0

    def step() -> None:
        nonlocal done
        child.stop_point()
        if done % _TELL_EVERY == 0:
            child.events.phase(f"answering_{side}", done=done, total=total, unit="held-out rows")
        done += 1

    return step


def held_out_loss(model: Any, rows: Sequence[Encoded], stop_point: Callable[[], None]) -> float:
    """Mean negative log-likelihood of all supervised tokens, in nats; rows one by one, so padding plays no part."""
    total, count = 0.0, 0
    for row in rows:
        stop_point()
        nats, tokens = _row_loss(model, row)
        total, count = total + nats, count + tokens
    return total / max(1, count)


def _row_loss(model: Any, row: Encoded) -> tuple[float, int]:
    ids = torch.tensor([row.input_ids], device=model.device)
    targets = torch.tensor(row.labels[1:], device=model.device)
    with torch.inference_mode():
        # Without labels both engines return the logits; with labels they may fuse them away.
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, :-1]
        nats = sum(
            cross_entropy(part.float(), wanted, ignore_index=IGNORED, reduction="sum").item()
            for part, wanted in zip(logits.split(_CHUNK), targets.split(_CHUNK), strict=True)
        )
    return float(nats), int((targets != IGNORED).sum())
