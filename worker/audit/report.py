"""Counting over the whole set, row by row; only lengths and hashes are kept in memory."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from app.domain.datasets.audit import MAX_PROBLEMS, AuditReport, Bin, RowFinding, SampleToken
from worker.child import Child, JobError
from worker.trainer import weights
from worker.trainer.chat import Chat, load_chat
from worker.trainer.data import propose_length
from worker.trainer.foreign_code import is_allowed
from worker.trainer.rows import Row, read_rows
from worker.trainer.specs import TRAIN_ROWS, VALIDATION_ROWS, AuditSpec
from worker.trainer.tokens import IGNORED, Encoded, RowProblem, encode

_BINS = 24
_SAMPLES = 2
_SAMPLE_TOKENS = 600
_BEAT = 500

_FOLDED = (
    "This model has no place for a system message: it goes before the first user message, here and in the answers."
)
_KEPT = (
    "The model's own chat template leaves out reasoning that stands in the rows. The training keeps it, "
    "so the model learns it; in later turns of a chat the template goes on leaving it out."
)


@dataclass
class _Count:
    lengths: list[int] = field(default_factory=list)
    #: For each good row: the index of its first supervised token.
    first_learned: list[int] = field(default_factory=list)
    supervised: int = 0
    ended: int = 0
    reasoning: int = 0
    changed: int = 0
    problems: list[RowFinding] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    seen: set[bytes] = field(default_factory=set)
    duplicates: int = 0
    leakage: int = 0
    samples: list[tuple[SampleToken, ...]] = field(default_factory=list)


def audit(spec: AuditSpec, child: Child) -> AuditReport:
    """Tokenise every row of the job folder. Raises `JobError`, `Stopped`."""
    folder = weights.resolve(spec.model, child, tokenizer_only=True)
    child.seclude()
    chat = load_chat(folder, foreign_code=is_allowed(spec.model))
    count = _Count()
    rows, validation = _lines(child.job_dir / TRAIN_ROWS), _lines(child.job_dir / VALIDATION_ROWS)
    total = rows + validation
    if not total:
        raise JobError("bad_data", "There are no rows to audit.", "Upload a data set with at least one good row.")
    for number, row in enumerate(_beating(child, TRAIN_ROWS, 0, total), start=1):
        _look_at(row, number, chat, count)
    for row in _beating(child, VALIDATION_ROWS, rows, total):
        count.leakage += _digest(row) in count.seen
    child.events.phase("auditing", done=total, total=total, unit="rows")
    proposed = propose_length(count.lengths, weights.context_length(folder))
    return _report(count, (rows, validation), (spec.max_seq_length or proposed, proposed), chat)


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


def _digest(row: Row) -> bytes:
    return hashlib.blake2b(json.dumps(row, sort_keys=True).encode(), digest_size=16).digest()


def _look_at(row: Row, number: int, chat: Chat, count: _Count) -> None:
    digest = _digest(row)
    count.duplicates += digest in count.seen
    count.seen.add(digest)
    try:
        encoded = encode(row, chat)
    except RowProblem as problem:
        count.codes[problem.code] += 1
        if len(count.problems) < MAX_PROBLEMS:
            count.problems.append(RowFinding(row=number, code=problem.code, message=problem.message))
        return
    _add(encoded, chat, count)


def _add(encoded: Encoded, chat: Chat, count: _Count) -> None:
    learned = [k for k, label in enumerate(encoded.labels) if label != IGNORED]
    count.lengths.append(encoded.full_length)
    count.first_learned.append(learned[0] if learned else encoded.full_length)
    count.supervised += len(learned)
    count.ended += bool(learned) and encoded.labels[learned[-1]] == chat.end_of_turn
    count.reasoning += encoded.reasoning
    count.changed += encoded.changed
    if len(count.samples) < _SAMPLES:
        count.samples.append(_sample(encoded))


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


def _report(count: _Count, rows: tuple[int, int], length: tuple[int, int], chat: Chat) -> AuditReport:
    """`rows` are those to train on and those held out; `length` is the one counted with and the one proposed."""
    lengths = sorted(count.lengths)
    limit, proposed = length
    notes = [_FOLDED] * chat.folds_system + [_KEPT] * (count.changed > 0)
    return AuditReport(
        rows=rows[0],
        validation_rows=rows[1],
        tokens_total=sum(lengths),
        supervised_total=count.supervised,
        p50=_quantile(lengths, 0.5),
        p99=_quantile(lengths, 0.99),
        max=lengths[-1] if lengths else 0,
        histogram=_histogram(lengths),
        max_seq_length=limit,
        proposed_max_seq_length=proposed,
        cut_rows=sum(length > limit for length in lengths),
        cut_tokens=sum(max(0, length - limit) for length in lengths),
        nothing_supervised=sum(
            first >= min(limit, length) for first, length in zip(count.first_learned, count.lengths, strict=True)
        ),
        end_of_turn_supervised=count.ended / max(1, len(lengths)),
        end_of_turn=chat.end_of_turn_text,
        reasoning_rows=count.reasoning,
        reasoning_kept=True,  # a row whose reasoning can't be kept is a problem, not a good row
        template_changed=bool(notes),
        template_note=" ".join(notes),
        problems=tuple(count.problems),
        problem_counts=dict(count.codes.most_common()),
        duplicates=count.duplicates,
        leakage=count.leakage,
        sample=tuple(count.samples),
    )


def _quantile(lengths: list[int], q: float) -> int:
    return lengths[min(len(lengths) - 1, int(len(lengths) * q))] if lengths else 0


def _histogram(lengths: list[int]) -> tuple[Bin, ...]:
    """At most 24 bins of equal width, a multiple of 8 tokens wide."""
    if not lengths:
        return ()
    width = -(-(lengths[-1] + 1) // (_BINS * 8)) * 8
    found = Counter(length // width for length in lengths)
    return tuple(Bin(start=i * width, end=(i + 1) * width, rows=found[i]) for i in range(lengths[-1] // width + 1))
