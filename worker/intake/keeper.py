"""Rows that are kept and rows that are not: both are counted, and each of the latter is told."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import IO, Any

import msgspec

from app.domain.datasets.refusals import Row, RowError
from app.domain.files.records import EXCERPT_BYTES, Record
from worker.child import Child, JobError
from worker.trainer.protocol import Problem
from worker.trainer.specs import IntakeSpec

_PLACEHOLDER = re.compile(r"\{\{\s*[\w.-]{1,40}\s*\}\}")
_MOST_PLACEHOLDERS = 50
_encode = msgspec.json.Encoder().encode


class Keeper:
    """Writes canonical rows and counts what it sees."""

    def __init__(self, child: Child, spec: IntakeSpec, out: IO[bytes]) -> None:
        self._child, self._spec, self._out = child, spec, out
        self._hash = hashlib.sha256()
        self.rows = 0
        self.problems = 0
        self.counts: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.placeholders: Counter[str] = Counter()

    def keep(self, row: Row) -> None:
        """One more good row."""
        self.write(data := _encode(row) + b"\n", 1)
        if b"{{" in data:
            self._note_placeholders(data)
        turns = row.get("messages") or row.get("prompt") or [{"role": "text", "content": row.get("text", "")}]
        counts, questions, reasoned = self.counts, 0, False
        for turn in turns:
            counts["characters"] += len(turn["content"])
            questions += turn["role"] == "user"
            reasoned = reasoned or "reasoning" in turn
        counts["turns"] += len(turns)
        counts["with_reasoning"] += reasoned
        counts["with_system"] += turns[0]["role"] == "system"
        counts["with_tools"] += "tools" in row
        if "split" in row:
            counts[f"split_{row['split']}"] += 1
        counts["multi_turn"] += questions > 1

    def write(self, data: bytes, rows: int) -> None:
        """Canonical rows as they are to lie there, one a line. Raises `JobError` when there are too many."""
        self.rows += rows
        if self._spec.max_rows and self.rows > self._spec.max_rows:
            message = f"The file has more than {self._spec.max_rows} rows, which is all that is taken here."
            raise JobError("bad_data", message, "Split it, or ask for a higher limit (TUNEDECK_LIMITS__ROWS).")
        self._out.write(data)
        self._hash.update(data)

    def _note_placeholders(self, data: bytes) -> None:
        for name in set(_PLACEHOLDER.findall(data.decode())):
            if name in self.placeholders or len(self.placeholders) < _MOST_PLACEHOLDERS:
                self.placeholders[name] += 1

    def refuse(self, exc: RowError, record: Record) -> None:
        """One more row that can't be used."""
        self.problems += 1
        self.codes[exc.code] += 1
        if self.problems > self._spec.max_problems:
            return
        excerpt = record.raw[:EXCERPT_BYTES].decode("utf-8", "replace").replace("\x00", "�").strip()
        self._child.events.emit(
            Problem(
                line=record.number, offset=record.offset, code=exc.code, message=exc.message[:2000], excerpt=excerpt
            )
        )

    def stats(self) -> dict[str, Any]:
        """What was counted."""
        return dict(self.counts) | {
            "codes": dict(self.codes.most_common(50)),
            "placeholders": dict(self.placeholders.most_common(20)),
            "rows_sha256": self._hash.hexdigest(),
        }
