"""Preferences: a better and a worse answer, or one answer and whether it is good. Kept as they are. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.datasets.columns import side, system_turn
from app.domain.datasets.refusals import Row, RowError
from app.domain.datasets.tooling import opened


def preference(row: Row, mapping: Mapping[str, str]) -> Row:
    """`prompt`, `chosen`, `rejected`; without a prompt it is what both answers begin with."""
    chosen = side(row, mapping, "chosen", "assistant", "empty_answer")
    rejected = side(row, mapping, "rejected", "assistant", "empty_answer")
    if "prompt" in mapping:
        prompt = side(row, mapping, "prompt", "user", "empty_question")
        chosen, rejected = (_after(prompt, turns) for turns in (chosen, rejected))
    else:
        same = _common(chosen, rejected)
        prompt, chosen, rejected = chosen[:same], chosen[same:], rejected[same:]
    if not prompt or not chosen or not rejected:
        message = "A preference needs a prompt, a chosen and a rejected answer that differ. One is missing."
        raise RowError("no_pair", message)
    return {"prompt": [*_system(row, mapping, prompt), *prompt], "chosen": chosen, "rejected": rejected}


def _common(one: list[Row], other: list[Row]) -> int:
    """How many turns both begin with; the last of each is an answer."""
    most = min(len(one), len(other)) - 1
    return next((n for n in range(most) if one[n] != other[n]), max(0, most))


def _after(prompt: list[Row], turns: list[Row]) -> list[Row]:
    """Some files repeat the prompt at the start of each answer."""
    return turns[len(prompt) :] if len(turns) > len(prompt) and turns[: len(prompt)] == prompt else turns


def labelled(row: Row, mapping: Mapping[str, str]) -> Row:
    """`prompt`, `completion`, `label`: true for a good answer, false for a bad one."""
    label = opened(row.get(mapping.get("label", "label")))
    if label not in (True, False):
        raise RowError("bad_label", "`label` must be true or false.")
    prompt = side(row, mapping, "prompt", "user", "empty_question")
    completion = side(row, mapping, "completion", "assistant", "empty_answer")
    return {"prompt": [*_system(row, mapping, prompt), *prompt], "completion": completion, "label": bool(label)}


def _system(row: Row, mapping: Mapping[str, str], prompt: list[Row]) -> list[Row]:
    return [] if prompt[0]["role"] == "system" else system_turn(row, mapping)
