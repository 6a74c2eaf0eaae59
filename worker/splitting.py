"""The rows of a training or an audit, in two files: those to train on and those held out."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from array import array
from itertools import islice
from pathlib import Path

from app.domain.datasets.audits import ROWS_AT_ONCE
from app.domain.datasets.split import Split, validation_rows, without_copies
from worker.trainer import specs


def write_split(rows: Path, held_out: Path | None, split: Split, folder: Path, stop: threading.Event) -> None:
    """`held_out`: rows of another data set, held out whole. Otherwise copies of a row stay on one side."""
    train, validation = folder / specs.TRAIN_ROWS, folder / specs.VALIDATION_ROWS
    if held_out is not None:
        shutil.copyfile(rows, train)
        shutil.copyfile(held_out, validation)
        return
    keys = _keys(rows, stop)
    drawn = validation_rows(len(keys), split.fraction, split.seed)
    held = without_copies(drawn, keys, split.seed)
    (folder / specs.HELD_OUT).write_text(json.dumps(sorted(held)), encoding="utf-8")
    with rows.open("rb") as lines, train.open("wb") as keep, validation.open("wb") as hold:
        for number, line in enumerate(lines):
            if stop.is_set():
                return
            (hold if number in held else keep).write(line.rstrip(b"\r\n") + b"\n")


def write_few(rows: Path, first: int, folder: Path) -> None:
    """The rows from number `first` (0-based) on that are to be looked at."""
    with rows.open("rb") as lines, (folder / specs.TRAIN_ROWS).open("wb") as few:
        few.writelines(islice(lines, first, first + ROWS_AT_ONCE))


def _keys(rows: Path, stop: threading.Event) -> array[int]:
    """Eight bytes of a hash for each row: canonical rows are copies when their lines are the same."""
    keys = array("Q")
    with rows.open("rb") as lines:
        for line in lines:
            if stop.is_set():
                break
            keys.append(int.from_bytes(hashlib.blake2b(line.rstrip(), digest_size=8).digest(), "little"))
    return keys
