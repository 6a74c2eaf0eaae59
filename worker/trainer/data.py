"""The job's rows in tokens, with everything that was lost on the way counted and said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from worker.child import Child, JobError
from worker.trainer.chat import Chat
from worker.trainer.rows import read_rows
from worker.trainer.specs import TRAIN_ROWS, VALIDATION_ROWS
from worker.trainer.tokens import Encoded, RowProblem, encode_many

#: The longest sequence proposed unless a person asks for more, in tokens.
LONGEST_PROPOSED = 2048
_STEP = 64
_COVERS = 0.99
_STOP_EVERY = 200
_THREADS = 2
_SHOWN_PROBLEMS = 5


@dataclass
class Tokens:
    """Rows ready for training. `train` holds only rows with something to learn."""

    train: list[Encoded] = field(default_factory=list)
    validation: list[Encoded] = field(default_factory=list)
    max_seq_length: int = 0

    @property
    def train_tokens(self) -> int:
        """Tokens in one epoch, padding not included."""
        return sum(len(row.input_ids) for row in self.train)


def propose_length(lengths: Sequence[int], context: int | None = None) -> int:
    """A length that covers 99 % of the rows: a multiple of 64, at most 2048 and the model's context."""
    if not lengths:
        return _STEP
    covering = sorted(lengths)[min(len(lengths) - 1, int(len(lengths) * _COVERS))]
    return min(LONGEST_PROPOSED, context or LONGEST_PROPOSED, -(-covering // _STEP) * _STEP)


def load_tokens(chat: Chat, child: Child, max_seq_length: int, context: int | None) -> Tokens:
    """Tokenise both files of the job folder. `max_seq_length` 0: chosen from the rows, at most `context`.

    Raises `JobError` of class bad_data when no row is left to train on.
    """
    train = _encode_file(child.job_dir / TRAIN_ROWS, chat, child)
    validation = _encode_file(child.job_dir / VALIDATION_ROWS, chat, child)
    length = max_seq_length or propose_length([row.full_length for row in train], context)
    tokens = Tokens(_cut(train, length, child), _cut(validation, length, child), length)
    if not tokens.train:
        raise JobError(
            "bad_data",
            "No row is left to train on: the log above says what is wrong with them.",
            "Look at the data set's audit for this model, and mend or map the rows.",
        )
    _report(tokens, child)
    return tokens


def _encode_file(path: Path, chat: Chat, child: Child) -> list[Encoded]:
    rows: list[Encoded] = []
    problems: Counter[str] = Counter()
    for number, found in enumerate(encode_many(read_rows(path), chat, _THREADS), start=1):
        if number % _STOP_EVERY == 0:
            child.stop_point()
        if not isinstance(found, RowProblem):
            rows.append(found)
            continue
        problems[found.code] += 1
        if problems.total() <= _SHOWN_PROBLEMS:
            child.events.log(f"Row {number} of {path.name} is left out: {found.message}", "warning")
    if problems:
        codes = ", ".join(f"{count} {code}" for code, count in problems.most_common())
        child.events.log(f"{problems.total()} rows of {path.name} are left out ({codes}).", "warning")
    return rows


def _cut(rows: list[Encoded], length: int, child: Child) -> list[Encoded]:
    """Rows cut at the end; those that then have nothing to learn are left out (their loss would be no number)."""
    long = sum(row.full_length > length for row in rows)
    short = [replace(row, input_ids=row.input_ids[:length], labels=row.labels[:length]) for row in rows]
    kept = [row for row in short if any(label >= 0 for label in row.labels[1:])]
    if long:
        child.events.log(f"{long} rows are longer than {length} tokens and are cut at the end.", "warning")
    if len(kept) < len(rows):
        child.events.log(f"{len(rows) - len(kept)} rows have nothing to learn and are left out.", "warning")
    return kept


def _report(tokens: Tokens, child: Child) -> None:
    learned = sum(row.supervised for row in tokens.train)
    child.events.log(
        f"{len(tokens.train)} rows to train on, {len(tokens.validation)} held out; {tokens.train_tokens:,} tokens, "
        f"{learned:,} of them learned; longest sequence {tokens.max_seq_length}."
    )
    if any(row.changed for row in tokens.train):
        child.events.log(
            "The model's own chat template leaves out reasoning that stands in the rows; it is kept for the training."
        )
