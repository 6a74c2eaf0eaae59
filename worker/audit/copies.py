"""Rows that repeat others, exactly or nearly, in one pass and with a bounded memory.

Exactly: eight bytes of a hash for each row. Nearly: one-permutation MinHash (Li, Owen and Zhang, 2012) over shingles of
three words, 64 places of two bytes a row; rows that agree in one of sixteen bands are compared, and are near when 80 %
of their shingles are estimated to be shared. System prompts don't count: they are meant to repeat.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from app.domain.datasets.audit import Copies, Pair
from worker.trainer.rows import Row

#: Rows kept for comparison: 64 MB.
MAX_COMPARED = 500_000
_PLACES, _BANDS, _SHARED = 64, 16, 0.8
#: With fewer shingles a row is too short for an estimate.
_LEAST = 12
_EXAMPLES = 5
_ODD = np.uint64(0x9E3779B97F4A7C15)
_ALL = np.arange(_PLACES)
_EDGES = np.append(np.arange(_PLACES, dtype=np.uint64) << np.uint64(58), np.uint64(2**64 - 1))
Words = NDArray[np.uint64]


@dataclass
class CopyFinder:
    """Takes rows one by one: the training rows first, then those held out."""

    _digests: array[int] = field(default_factory=lambda: array("Q"))
    _held_digests: array[int] = field(default_factory=lambda: array("Q"))
    _signatures: bytearray = field(default_factory=bytearray)
    _numbers: array[int] = field(default_factory=lambda: array("q"))
    _held: bytearray = field(default_factory=bytearray)
    _keys: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, row: Row, number: int, *, held_out: bool) -> None:
        """`number` is what the row is called in the examples."""
        digest = hashlib.blake2b(json.dumps(row, sort_keys=True).encode(), digest_size=8).digest()
        key = int.from_bytes(digest, "little")
        (self._held_digests if held_out else self._digests).append(key)
        if len(self._numbers) >= MAX_COMPARED:
            return
        found = signature(row)
        if found is not None:
            self._signatures += found.tobytes()
            self._numbers.append(number)
            self._held.append(held_out)
            self._keys.append(key)

    def found(self) -> Copies:
        """What was found in all that was added."""
        digests = np.frombuffer(self._digests, np.uint64) if self._digests else np.empty(0, np.uint64)
        held = np.frombuffer(self._held_digests, np.uint64) if self._held_digests else np.empty(0, np.uint64)
        exact, leaked = len(digests) - len(np.unique(digests)), int(np.isin(held, digests).sum())
        pairs = [(a, b) for a, b in self._near_pairs() if self._keys[a] != self._keys[b]]
        return Copies(
            exact=exact,
            near=sum(not self._held[a] for a, _ in pairs),
            leaked=leaked,
            nearly_leaked=sum(self._held[a] > self._held[b] for a, b in pairs),
            compared=len(self._numbers),
            examples=tuple(Pair(row=self._numbers[a], like=self._numbers[b]) for a, b in pairs[:_EXAMPLES]),
        )

    def _near_pairs(self) -> list[tuple[int, int]]:
        """(later, earlier): each row that is near an earlier one, once, with such a one."""
        if not self._numbers:
            return []
        signatures = np.frombuffer(self._signatures, np.uint16).reshape(-1, _PLACES)
        bands = np.ascontiguousarray(signatures).view(np.uint64)
        near: dict[int, int] = {}
        for band in range(_BANDS):
            order = np.argsort(bands[:, band], kind="stable")
            keys = bands[order, band]
            first = np.maximum.accumulate(np.where(np.r_[True, keys[1:] != keys[:-1]], np.arange(len(keys)), 0))
            for other in (order[first], np.r_[order[:1], order[:-1]]):  # the first of its band, and its neighbour
                for k in np.flatnonzero(_agree(signatures, order, other)).tolist():
                    earlier, later = sorted((int(order[k]), int(other[k])))
                    if later != earlier:
                        near.setdefault(later, earlier)
        return sorted(near.items())


def _agree(signatures: NDArray[np.uint16], order: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which pairs agree in enough places; in slices, so that the copies of them stay small."""
    step = 50_000
    parts = [
        (signatures[order[k : k + step]] == signatures[other[k : k + step]]).mean(axis=1) >= _SHARED
        for k in range(0, len(order), step)
    ]
    return np.concatenate(parts)


def signature(row: Row) -> NDArray[np.uint16] | None:
    """64 places of two bytes; None for a row that is too short."""
    text = " ".join(m.get("content") or "" for m in row["messages"] if m["role"] != "system").lower()
    words = _words(text)
    if len(words) < _LEAST + 2:
        return None
    mixed = (words[:-2] * np.uint64(3) + words[1:-1]) * np.uint64(5) + words[2:]
    mixed *= _ODD
    mixed ^= mixed >> np.uint64(29)
    mixed *= _ODD
    mixed.sort()
    edges = mixed.searchsorted(_EDGES)  # the first of each place
    filled = np.maximum.accumulate(np.where(edges[1:] > edges[:-1], _ALL, -1))
    filled[filled < 0] = filled[-1]  # an empty place takes what the one before it has, all round
    return (mixed[edges[filled]] >> np.uint64(20)).astype(np.uint16)


def _words(text: str) -> Words:
    """A number for each word; for each character where words are not set apart by spaces."""
    words = text.encode().split()
    if len(words) * 16 < len(text):
        return np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64) * _ODD
    return np.fromiter(map(crc32, words), np.uint64, len(words))
