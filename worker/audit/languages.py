"""In which languages the rows are: told from a sample, by a small model that comes with its package (py3langid)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from app.domain.datasets.audit import Language
from worker.trainer.rows import Row

_SAMPLE = 1000
_LETTERS = 600
_LEAST = 20


@dataclass
class LanguageCounter:
    """Looks at about a thousand of `total` rows, spread evenly."""

    total: int
    _rows: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row, index: int) -> None:
        """`index` counts the rows from 0 on."""
        if index % max(1, self.total // _SAMPLE):
            return
        text = " ".join(m.get("content") or "" for m in row["messages"] if m["role"] != "system")[:_LETTERS]
        if len(text) >= _LEAST:
            import py3langid

            self._rows[py3langid.classify(text)[0]] += 1

    @property
    def looked_at(self) -> int:
        """Rows that were long enough to tell."""
        return self._rows.total()

    def found(self) -> tuple[Language, ...]:
        """The ten most frequent."""
        return tuple(Language(code=code, rows=rows) for code, rows in self._rows.most_common(10))
