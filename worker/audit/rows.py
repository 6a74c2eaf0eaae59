"""A few rows in tokens, as training has them: what a person looks at when a count is not enough."""

from __future__ import annotations

from app.domain.datasets.audit import RowsReport, TokenRow
from worker.child import Child
from worker.trainer import weights
from worker.trainer.chat import Chat, load_chat
from worker.trainer.foreign_code import is_allowed
from worker.trainer.rows import Row, read_rows
from worker.trainer.specs import TRAIN_ROWS, AuditSpec
from worker.trainer.tokens import IGNORED, Encoded, RowProblem, encode

#: Tokens of a row that are shown.
MOST = 6_000


def show(spec: AuditSpec, child: Child) -> RowsReport:
    """All rows of the job folder. Raises `JobError`, `Stopped`."""
    folder = weights.resolve(spec.model, child, tokenizer_only=True)
    child.seclude()
    chat = load_chat(folder, foreign_code=is_allowed(spec.model))
    child.events.phase("auditing")
    rows = enumerate(read_rows(child.job_dir / TRAIN_ROWS), start=(spec.rows_from or 0) + 1)
    return RowsReport(rows=tuple(_shown(row, number, chat) for number, row in rows))


def _shown(row: Row, number: int, chat: Chat) -> TokenRow:
    try:
        encoded = encode(row, chat)
    except RowProblem as problem:
        return TokenRow(number=number, problem=problem.message)
    tokens, labels = pieces(encoded), encoded.labels[:MOST]
    return TokenRow(number=number, tokens=tokens, learned=_stretches(labels), full_length=encoded.full_length)


def pieces(encoded: Encoded, most: int = MOST) -> tuple[str, ...]:
    """The text token by token; of tokens that share a character the last one has it."""
    ends = [end for _, end in encoded.offsets[:most]]
    out, at = [], 0
    for k, end in enumerate(ends):
        whole = k + 1 == len(ends) or ends[k + 1] > end
        out.append(encoded.text[at:end] if whole and end > at else "")
        at = max(at, end) if whole else at
    return tuple(out)


def _stretches(labels: list[int]) -> tuple[tuple[int, int], ...]:
    learned = [label != IGNORED for label in labels]
    edges = [k for k in range(len(learned)) if k == 0 or learned[k] != learned[k - 1]]
    return tuple((a, b) for a, b in zip(edges, [*edges[1:], len(learned)], strict=True) if learned[a])
