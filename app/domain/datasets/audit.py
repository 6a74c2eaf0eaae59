"""What an audit found: the rows as the base model will really read them. Pure: no HTTP, no torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

#: Rows with a problem that a report carries; the counts cover all of them.
MAX_PROBLEMS = 50


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Bin(_Part):
    """Rows whose length in tokens is at least `start` and below `end`."""

    start: int
    end: int
    rows: int


class RowFinding(_Part):
    """A row that will not be trained on: its 1-based number, a code, and what is wrong."""

    row: int
    code: str
    message: str


class SampleToken(_Part):
    """A piece of a sample row, and whether the model learns to write it."""

    text: str
    supervised: bool


class AuditReport(_Part):
    """The whole set, tokenised by the function that training uses. Lengths are in tokens."""

    rows: int
    validation_rows: int
    tokens_total: int
    supervised_total: int
    p50: int
    p99: int
    max: int
    histogram: tuple[Bin, ...]
    #: The length that `cut_rows` and `cut_tokens` were counted with.
    max_seq_length: int
    #: Covers 99 % of the rows; a multiple of 64, at most 2048.
    proposed_max_seq_length: int
    cut_rows: int
    cut_tokens: int
    #: Rows that, once cut, leave the model nothing to learn.
    nothing_supervised: int
    #: Fraction of the good rows whose last supervised token is the end-of-turn token.
    end_of_turn_supervised: float
    end_of_turn: str
    reasoning_rows: int
    reasoning_kept: bool
    #: The training text differs from what the model's own template writes; `template_note` says how.
    template_changed: bool
    template_note: str
    problems: tuple[RowFinding, ...]
    problem_counts: dict[str, int]
    #: Training rows that repeat an earlier one word for word.
    duplicates: int
    #: Validation rows that also stand in the training rows.
    leakage: int
    sample: tuple[tuple[SampleToken, ...], ...]

    @property
    def bad_rows(self) -> int:
        """Rows that will not be trained on."""
        return sum(self.problem_counts.values()) + self.nothing_supervised
