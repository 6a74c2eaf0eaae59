"""Who speaks when: orders of turns that a model is seldom asked with, and how much the system prompts vary."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from app.domain.datasets.audit import RoleFinding, SystemPrompt, SystemPrompts
from worker.audit.secrets import without_secrets
from worker.trainer.rows import Row

_DISTINCT = 20_000
_SHOWN, _LETTERS = 3, 200


def odd_orders(row: Row) -> Iterator[str]:
    """Codes of what is out of order in a conversation, each once."""
    roles = [message["role"] for message in row["messages"]]
    spoken = [role for role in roles if role != "system"]
    if "system" in roles[1:]:
        yield "system_late"
    if spoken and spoken[0] != "user":
        yield "starts_with_answer"
    pairs = set(pairwise(spoken))
    if ("user", "user") in pairs:
        yield "two_questions"
    if ("assistant", "assistant") in pairs:
        yield "two_answers"
    if spoken and spoken[-1] != "assistant":
        yield "ends_with_question"


@dataclass
class OrderCounter:
    """Odd orders by code, with the first row of each."""

    _rows: Counter[str] = field(default_factory=Counter)
    _first: dict[str, int] = field(default_factory=dict)

    def add(self, row: Row, number: int) -> None:
        """`number` is what the row is called."""
        for code in odd_orders(row):
            self._rows[code] += 1
            self._first.setdefault(code, number)

    def found(self) -> tuple[RoleFinding, ...]:
        """The most frequent first."""
        return tuple(
            RoleFinding(code=code, rows=rows, first_row=self._first[code]) for code, rows in self._rows.most_common()
        )


@dataclass
class SystemCounter:
    """Distinct system prompts, the first twenty thousand of them."""

    _rows: Counter[bytes] = field(default_factory=Counter)
    _texts: dict[bytes, str] = field(default_factory=dict)
    _without: int = 0

    def add(self, row: Row) -> None:
        """Take the system prompt of `row`, or note that there is none."""
        text = next((m.get("content") or "" for m in row["messages"] if m["role"] == "system"), "").strip()
        if not text:
            self._without += 1
            return
        key = hashlib.blake2b(text.encode(), digest_size=8).digest()
        if key in self._rows or len(self._rows) < _DISTINCT:
            self._rows[key] += 1
            if len(self._texts) < _SHOWN * 20:
                self._texts.setdefault(key, text[: _LETTERS * 5])

    def found(self) -> SystemPrompts:
        """How many there are, and the beginnings of the most frequent."""
        common = [(self._texts[key], rows) for key, rows in self._rows.most_common() if key in self._texts][:_SHOWN]
        return SystemPrompts(
            rows_without=self._without,
            distinct=len(self._rows),
            common=tuple(SystemPrompt(text=without_secrets(text)[:_LETTERS], rows=rows) for text, rows in common),
        )
