"""Which rows a split holds out, and questions proposed from just these: the very rows that training never sees."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from app.core.storage import LocalStorage
from app.domain.datasets.models import Dataset
from app.domain.datasets.refusals import Row
from app.domain.datasets.sides import VALIDATION, bare, twins
from app.domain.datasets.split import Split, validation_rows, without_copies
from app.domain.jobs.config import Question

#: With more rows than this, only those that are to be shown are looked for among the others.
EXACT = 20_000
_SPARE = 4


def keys_of(path: Path, stop: Callable[[], bool] = lambda: False) -> array[int]:
    """Eight bytes of a hash for each row: rows are copies when their lines are the same, whatever their side."""
    keys = array("Q")
    with path.open("rb") as lines:
        for line in lines:
            if stop():
                break
            keys.append(int.from_bytes(hashlib.blake2b(bare(line)[0], digest_size=8).digest(), "little"))
    return keys


def propose_questions(
    storage: LocalStorage, dataset: Dataset, split: Split, held_out: Dataset | None = None, count: int = 4
) -> list[Question]:
    """Questions out of the rows that `split` holds out, or any where it holds out none; each only once.

    `held_out`: the data set that the split names.
    """
    rows_of = held_out if split.dataset_id else dataset
    if rows_of is None or not rows_of.rows_key:
        return []
    path = storage.ensure(rows_of.rows_key)
    if not path.is_file():
        return []
    stat = path.stat()
    return list(_proposed(path, stat.st_size, stat.st_mtime_ns, rows_of.row_count, split, count))


@lru_cache(maxsize=64)
def _proposed(path: Path, _size: int, _time: int, rows: int, split: Split, count: int) -> tuple[Question, ...]:
    """Kept: rows never change, and looking for copies takes its time in a large file."""
    with path.open("rb") as file:
        if split.by_file:
            lines: Iterable[bytes] = (line for line in file if bare(line)[1] == VALIDATION)
        elif split.dataset_id or not (drawn := validation_rows(rows, split.fraction, split.seed)):
            lines = file
        elif rows <= EXACT:
            keys = keys_of(path)
            held = without_copies(validation_rows(len(keys), split.fraction, split.seed), keys, split.seed)
            lines = (line for number, line in enumerate(file) if number in held)
        else:
            some = islice(((k, line) for k, line in enumerate(file) if k in drawn and _asks(line)), count * _SPARE)
            lines = _without_copies(path, dict(some), drawn)
        return tuple(_distinct(lines, count))


def _distinct(lines: Iterable[bytes], count: int) -> Iterator[Question]:
    found: set[str] = set()
    for line in lines:
        question = _question_of(msgspec.json.decode(line))
        if question is not None and question.prompt not in found:
            found.add(question.prompt)
            yield question
        if len(found) == count:
            return


def _asks(line: bytes) -> bool:
    return _question_of(msgspec.json.decode(line)) is not None


def _without_copies(path: Path, some: dict[int, bytes], drawn: frozenset[int]) -> list[bytes]:
    """Those of `some` that no row which is trained on repeats."""
    rows = {bare(line)[0] for line in some.values()}
    alike = {twin + b"\n": row for row in rows for twin in twins(row)}
    lengths = {len(line) for line in alike}
    trained: set[bytes] = set()
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if len(line) in lengths and line in alike and number not in drawn:
                trained.add(alike[line])
    return [line for line in some.values() if bare(line)[0] not in trained]


def _question_of(row: Row) -> Question | None:
    turns: list[dict[str, Any]] = row.get("messages") or [{"role": "text"}]
    system = turns[0]["content"] if turns[0]["role"] == "system" else ""
    user = next((turn["content"] for turn in turns if turn["role"] == "user"), "").strip()
    answer = next((turn["content"] for turn in turns if turn["role"] == "assistant"), "")
    if not user or len(user) > 2_000 or len(system) > 4_000:
        return None
    return Question(prompt=user, system=system, expected=answer[:20_000])
