"""Counting over the whole set, row by row; of each row a few numbers are kept in memory."""

from __future__ import annotations

import json
import os
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import tee
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.domain.datasets.audit import MAX_PROBLEMS, AuditReport, Bin, RowFinding, SampleToken, Spread
from worker.audit.copies import CopyFinder
from worker.audit.languages import LanguageCounter
from worker.audit.secrets import SecretCounter
from worker.audit.turns import OrderCounter, SystemCounter
from worker.child import Child, JobError
from worker.trainer import weights
from worker.trainer.chat import Chat, load_chat
from worker.trainer.data import propose_length
from worker.trainer.foreign_code import is_allowed
from worker.trainer.rows import Row, read_rows
from worker.trainer.specs import HELD_OUT, LEFT_OUT, TRAIN_ROWS, VALIDATION_ROWS, AuditSpec
from worker.trainer.tokens import IGNORED, Encoded, RowProblem, encode, encode_many

_BINS = 24
_SAMPLES = 2
_SAMPLE_TOKENS = 600
_BEAT = 500
_QUANTILES = (0.1, 0.5, 0.9, 0.99)

_FOLDED = (
    "This model has no place for a system message: it goes before the first user message, here and in the answers."
)
_KEPT = (
    "The model's own chat template leaves out reasoning that stands in the rows. The training keeps it, "
    "so the model learns it; in later turns of a chat the template goes on leaving it out."
)
_COMPLETED = (
    "What this model is asked with is not how its own chat template writes finished answers. "
    "The training goes by what it is asked with."
)


@dataclass
class _Count:
    """Of each good row; `first`: the index of its first supervised token, where it has one."""

    lengths: array[int] = field(default_factory=lambda: array("l"))
    learned: array[int] = field(default_factory=lambda: array("l"))
    first: array[int] = field(default_factory=lambda: array("l"))
    ended: int = 0
    reasoning: int = 0
    kept: int = 0
    completed: int = 0
    problems: list[RowFinding] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    samples: list[tuple[SampleToken, ...]] = field(default_factory=list)


@dataclass
class _Looks:
    """What is looked at besides the tokens."""

    languages: LanguageCounter
    copies: CopyFinder = field(default_factory=CopyFinder)
    secrets: SecretCounter = field(default_factory=SecretCounter)
    orders: OrderCounter = field(default_factory=OrderCounter)
    systems: SystemCounter = field(default_factory=SystemCounter)


def audit(spec: AuditSpec, child: Child) -> AuditReport:
    """Tokenise every row of the job folder. Raises `JobError`, `Stopped`."""
    folder = weights.resolve(spec.model, child, tokenizer_only=True)
    child.seclude()
    chat = load_chat(folder, foreign_code=is_allowed(spec.model))
    rows, validation = _lines(child.job_dir / TRAIN_ROWS), _lines(child.job_dir / VALIDATION_ROWS)
    if not rows + validation:
        raise JobError("bad_data", "There are no rows to audit.", "Upload a data set with at least one good row.")
    count, looks = _Count(), _Looks(LanguageCounter(rows))
    numbers = _numbers(child.job_dir, rows, validation)
    _look_at_all(chat, child, count, looks, (rows, rows + validation), numbers)
    for row, number in zip(_beating(child, VALIDATION_ROWS, rows, rows + validation), numbers[1], strict=False):
        looks.copies.add(row, number, held_out=True)
    child.events.phase("auditing", done=rows + validation, total=rows + validation, unit="rows")
    proposed = propose_length(count.lengths, weights.context_length(folder))
    return _report(count, looks, (rows, validation), (spec.max_seq_length or proposed, proposed), chat)


def _numbers(job_dir: Path, rows: int, validation: int) -> tuple[list[int], list[int]]:
    """What the data set calls the rows of either file, from 1 on; by hand those held out come last."""
    file, left = job_dir / HELD_OUT, job_dir / LEFT_OUT
    out = set(json.loads(left.read_text(encoding="utf-8")) if left.is_file() else ())
    total = rows + validation + len(out)
    held = set(json.loads(file.read_text(encoding="utf-8")) if file.is_file() else range(rows, total))
    return [k + 1 for k in range(total) if k not in held and k not in out], sorted(k + 1 for k in held)


def _lines(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())


def _beating(child: Child, name: str, before: int, total: int) -> Iterator[Row]:
    for done, row in enumerate(read_rows(child.job_dir / name), start=before):
        if done % _BEAT == 0:
            child.stop_point()
            child.events.phase("auditing", done=done, total=total, unit="rows")
        yield row


def _look_at_all(
    chat: Chat, child: Child, count: _Count, looks: _Looks, sizes: tuple[int, int], numbers: tuple[list[int], list[int]]
) -> None:
    """The training rows. `tee` holds the few that are being tokenised."""
    ahead, rows = tee(_beating(child, TRAIN_ROWS, 0, sizes[1]))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = encode_many(ahead, chat, threads=min(2, cores))
    for index, (encoded, row) in enumerate(zip(found, rows, strict=True)):
        number = numbers[0][index]
        looks.copies.add(row, number, held_out=False)
        looks.orders.add(row, number)
        looks.systems.add(row)
        looks.languages.add(row, index)
        suspect = looks.secrets.add(_texts(row), number)
        if isinstance(encoded, RowProblem):
            _note(encoded, number, count)
            continue
        _add(encoded, chat, count)
        if len(count.samples) < _SAMPLES and not suspect:
            count.samples.append(_sample(encode(row, chat)))


def _texts(row: Row) -> list[str]:
    found = [f"{message.get('content') or ''}\n{message.get('reasoning', '')}" for message in row["messages"]]
    return found + [json.dumps(message["tool_calls"]) for message in row["messages"] if message.get("tool_calls")]


def _note(problem: RowProblem, number: int, count: _Count) -> None:
    count.codes[problem.code] += 1
    if len(count.problems) < MAX_PROBLEMS:
        count.problems.append(RowFinding(row=number, code=problem.code, message=problem.message))


def _add(encoded: Encoded, chat: Chat, count: _Count) -> None:
    labels = encoded.labels
    learned = len(labels) - labels.count(IGNORED)
    first = next((k for k, label in enumerate(labels) if label != IGNORED), None)
    last = next((label for label in reversed(labels) if label != IGNORED), None)
    count.lengths.append(encoded.full_length)
    count.learned.append(learned)
    if first is not None:
        count.first.append(first)
    count.ended += last is not None and last == chat.end_of_turn
    count.reasoning += encoded.reasoning
    count.kept += encoded.changed and encoded.reasoning
    count.completed += encoded.changed and not encoded.reasoning


def _sample(encoded: Encoded) -> tuple[SampleToken, ...]:
    """The row's text in pieces, one for each token; characters that need several tokens stay whole."""
    out: list[SampleToken] = []
    at = 0
    pairs = list(zip(encoded.offsets, encoded.labels, strict=True))[:_SAMPLE_TOKENS]
    for (_, end), label in pairs:
        if end > at:
            out.append(SampleToken(text=encoded.text[at:end], supervised=label != IGNORED))
            at = end
    return tuple(out)


def _report(count: _Count, looks: _Looks, rows: tuple[int, int], length: tuple[int, int], chat: Chat) -> AuditReport:
    """`rows` are those to train on and those held out; `length` is the one counted with and the one proposed."""
    lengths = np.array(count.lengths, np.int64)
    limit, proposed = length
    notes = [_FOLDED] * chat.folds_system + [_KEPT] * (count.kept > 0) + [_COMPLETED] * (count.completed > 0)
    counted = AuditReport(
        rows=rows[0],
        validation_rows=rows[1],
        tokens_total=int(lengths.sum()),
        supervised_total=sum(count.learned),
        histogram=_histogram(count.lengths),
        max_seq_length=limit,
        proposed_max_seq_length=proposed,
        cut_rows=0,
        cut_tokens=0,
        nothing_supervised=0,
        end_of_turn_supervised=count.ended / max(1, len(lengths)),
        end_of_turn=chat.end_of_turn_text,
        reasoning_rows=count.reasoning,
        reasoning_kept=True,  # a row whose reasoning can't be kept is a problem, not a good row
        template_changed=bool(notes),
        template_note=" ".join(notes),
        problems=tuple(count.problems),
        problem_counts=dict(count.codes.most_common()),
        length_counts=_counts(count.lengths),
        first_counts=_counts(count.first),
        row_lengths=_spread(lengths),
        learned_lengths=_spread(np.array(count.learned, np.int64)),
        copies=looks.copies.found(),
        system_prompts=looks.systems.found(),
        languages=looks.languages.found(),
        languages_looked_at=looks.languages.looked_at,
        roles=looks.orders.found(),
        secrets=looks.secrets.found(),
        sample=tuple(count.samples),
    )
    return counted.at(limit)


def _counts(values: array[int]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted(Counter(values).items()))


def _spread(lengths: NDArray[np.int64]) -> Spread:
    ordered = np.sort(lengths)
    at = [int(ordered[min(len(ordered) - 1, int(len(ordered) * q))]) if len(ordered) else 0 for q in _QUANTILES]
    return Spread(p10=at[0], p50=at[1], p90=at[2], p99=at[3], max=int(ordered[-1]) if len(ordered) else 0)


def _histogram(lengths: array[int]) -> tuple[Bin, ...]:
    """At most 24 bins of equal width, a multiple of 8 tokens wide."""
    if not lengths:
        return ()
    longest = max(lengths)
    width = -(-(longest + 1) // (_BINS * 8)) * 8
    found = Counter(length // width for length in lengths)
    return tuple(Bin(start=i * width, end=(i + 1) * width, rows=found[i]) for i in range(longest // width + 1))
