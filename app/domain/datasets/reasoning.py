"""Reasoning that stands in the text of an answer. Pure."""

from __future__ import annotations

import re

from app.domain.datasets.refusals import RowError

_OPEN, _CLOSE = "<think>", "</think>"
_THINK = re.compile(r"^\s*<think>(.*?)</think>\s*(.*)$", re.DOTALL)


def split_reasoning(content: str, reasoning: str = "", where: str = "The answer") -> tuple[str, str]:
    """`<think>…</think>` at the start of an answer becomes the reasoning: (answer, reasoning). Raises `RowError`.

    The opening mark may be missing: models whose chat template writes it themselves leave such answers.
    """
    if _CLOSE not in content and not content.lstrip().startswith(_OPEN):
        return content, reasoning
    found = _THINK.match(content)
    if found:
        inside, rest = found[1].strip(), found[2]
    elif content.lstrip().startswith(_OPEN):
        raise RowError("open_think", f"{where} opens <think> and never closes it. Close it, or remove the row.")
    elif _OPEN in content:
        return content, reasoning  # it speaks of the marks later in the text
    else:
        inside, rest = (part.strip() for part in content.split(_CLOSE, 1))
    return rest, _one_of(inside, reasoning.strip(), where)


def _one_of(inside: str, field: str, where: str) -> str:
    if inside and field and inside != field:
        message = f"{where} has reasoning in a field of its own and another one in <think>. Keep one of them."
        raise RowError("two_reasonings", message)
    return field or inside
