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


class Cut(_Part):
    """What a longest length would cost: rows that are cut, tokens that go, rows then left with nothing to learn."""

    length: int
    rows: int
    tokens: int
    nothing_left: int


class Spread(_Part):
    """Lengths in tokens: of a tenth of the rows at most `p10`, of half `p50`, and so on."""

    p10: int
    p50: int
    p90: int
    p99: int
    max: int


class SystemPrompt(_Part):
    """The beginning of a system prompt, secrets masked, and how many rows have it."""

    text: str
    rows: int


class SystemPrompts(_Part):
    """How much the system prompts vary."""

    rows_without: int
    distinct: int
    common: tuple[SystemPrompt, ...]


class Language(_Part):
    """ISO 639 code, and rows of those looked at."""

    code: str
    rows: int


class RoleFinding(_Part):
    """Conversations whose turns are in an odd order."""

    code: str
    rows: int
    first_row: int


class SecretExample(_Part):
    """Where a secret stands, and its first two characters."""

    row: int
    masked: str


class SecretFinding(_Part):
    """Something of `kind` that a model should not learn by heart."""

    kind: str
    rows: int
    found: int
    examples: tuple[SecretExample, ...]


class Pair(_Part):
    """Two rows that are nearly the same."""

    row: int
    like: int


class Copies(_Part):
    """Rows that repeat others."""

    #: Training rows that repeat an earlier one word for word, and those that nearly do.
    exact: int
    near: int
    #: Held-out rows that also stand in the training rows, and those that nearly do.
    leaked: int
    nearly_leaked: int
    #: Rows that were compared for being nearly the same; the rest were too many, or too short.
    compared: int
    examples: tuple[Pair, ...]


class TokenRow(_Part):
    """A row as training has it: each token's text, and which stretches are learned, as (first, one past the last)."""

    number: int
    tokens: tuple[str, ...] = ()
    learned: tuple[tuple[int, int], ...] = ()
    #: Tokens of the whole row; `tokens` may hold only the first of them.
    full_length: int = 0
    #: Why it will not be trained on.
    problem: str = ""


class RowsReport(_Part):
    """A few rows in tokens."""

    rows: tuple[TokenRow, ...]


class AuditReport(_Part):
    """The whole set, tokenised by the function that training uses. Lengths are in tokens."""

    rows: int
    validation_rows: int
    tokens_total: int
    supervised_total: int
    histogram: tuple[Bin, ...]
    #: The length that `cut_rows`, `cut_tokens` and `nothing_supervised` were counted with.
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
    #: How many rows have which length, and for how many which token is the first that is learned.
    length_counts: tuple[tuple[int, int], ...]
    first_counts: tuple[tuple[int, int], ...]
    row_lengths: Spread
    learned_lengths: Spread
    copies: Copies
    system_prompts: SystemPrompts
    #: Of `languages_looked_at` rows, spread over the whole set.
    languages: tuple[Language, ...]
    languages_looked_at: int
    roles: tuple[RoleFinding, ...]
    secrets: tuple[SecretFinding, ...]
    sample: tuple[tuple[SampleToken, ...], ...]

    def cut(self, length: int) -> Cut:
        """What a longest length of `length` tokens costs."""
        over = [(size - length, rows) for size, rows in self.length_counts if size > length]
        learns = sum(rows for first, rows in self.first_counts if first < length)
        good = sum(rows for _, rows in self.length_counts)
        tokens = sum(size * rows for size, rows in over)
        return Cut(length=length, rows=sum(rows for _, rows in over), tokens=tokens, nothing_left=good - learns)

    def at(self, length: int) -> AuditReport:
        """The same report with rows cut at `length` tokens; 0: at the length proposed."""
        cut = self.cut(length or self.proposed_max_seq_length)
        counted = {"cut_rows": cut.rows, "cut_tokens": cut.tokens, "nothing_supervised": cut.nothing_left}
        return self.model_copy(update=counted | {"max_seq_length": cut.length})

    @property
    def good_rows(self) -> int:
        """Rows that can be trained on."""
        return sum(rows for _, rows in self.length_counts)

    @property
    def proposed_epochs(self) -> int:
        """Few rows are read several times; with many, one pass says it all and more of them is learned by heart."""
        return 3 if self.good_rows < 1_000 else 2 if self.good_rows < 10_000 else 1

    @property
    def proposed_batch(self) -> int:
        """Rows a step: small enough for a few dozen steps, large enough for a calm gradient."""
        return next(
            (batch for most, batch in ((64, 2), (200, 4), (2_000, 8), (20_000, 16)) if self.good_rows <= most), 32
        )

    @property
    def bad_rows(self) -> int:
        """Rows that will not be trained on."""
        return sum(self.problem_counts.values()) + self.nothing_supervised
