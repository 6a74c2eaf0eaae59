"""Answers before and after, with what changed between them marked word by word."""

from __future__ import annotations

import difflib
import re
from itertools import groupby
from operator import itemgetter
from typing import Any

from app.domain.evaluations.service import AnswerPair
from app.domain.jobs.models import Answer

#: Words, runs of spaces, single marks; Chinese and Japanese, which put no spaces, sign by sign.
_SIGN = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORDS = re.compile(rf"\s+|[{_SIGN}]|[^\W{_SIGN}]+|[^\w\s]")
#: Longer than this, a comparison costs more than it tells.
MAX_WORDS = 4_000
#: Less in common than this, marks would colour everything and say nothing.
LEAST_RATIO = 0.15
#: Fewer words in common than this between two changes are chance: they are marked with them.
LEAST_WORDS = 2
Segment = tuple[str, str]


def differences(before: str, after: str) -> tuple[list[Segment], list[Segment]]:
    """Both texts in segments (`same`, `gone`, `new`); all `same` where they have hardly a word in common."""
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    plain: tuple[list[Segment], list[Segment]] = [("same", before)], [("same", after)]
    if len(old) + len(new) > MAX_WORDS:
        return plain
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    if matcher.ratio() < LEAST_RATIO:
        return plain
    left: list[Segment] = []
    right: list[Segment] = []
    for tag, a, b, c, d in matcher.get_opcodes():
        lone = a > 0 and c > 0 and b < len(old) and d < len(new) and _words(old[a:b]) < LEAST_WORDS
        same = tag == "equal" and not lone
        left.append(("same" if same else "gone", "".join(old[a:b])))
        right.append(("same" if same else "new", "".join(new[c:d])))
    return _joined(left), _joined(right)


def _words(pieces: list[str]) -> int:
    return sum(piece.isalnum() for piece in pieces)


def _joined(segments: list[Segment]) -> list[Segment]:
    """Neighbours of one kind as one; empty ones left out."""
    runs = groupby((segment for segment in segments if segment[1]), key=itemgetter(0))
    return [(kind, "".join(text for _, text in run)) for kind, run in runs]


def pair_view(pair: AnswerPair) -> dict[str, Any]:
    """Arguments of the `answer_pair` macro."""
    before, after = side_view(pair.before), side_view(pair.after)
    if before and after and pair.before and pair.after:
        before["segments"], after["segments"] = differences(pair.before.text, pair.after.text)
    question = pair.question
    return {
        "question": question.prompt,
        "before": before,
        "after": after,
        "system": question.system,
        "expected": question.expected,
    }


def side_view(answer: Answer | None) -> dict[str, Any] | None:
    """One answer as the pages show it."""
    if answer is None:
        return None
    return {
        "text": answer.text,
        "reasoning": answer.reasoning,
        "tokens": answer.tokens,
        "seconds": answer.seconds,
        "cut": answer.stopped == "length",
    }
