"""The rows of a training or an audit, in two files: those to train on and those held out."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from app.domain.datasets.audits import ROWS_AT_ONCE
from app.domain.datasets.held_out import keys_of
from app.domain.datasets.sides import TEST, VALIDATION, bare
from app.domain.datasets.split import Split, validation_rows, without_copies
from worker.trainer import specs


def write_split(rows: Path, held_out: Path | None, split: Split, folder: Path, stop: threading.Event) -> None:
    """`held_out`: rows of another data set, held out whole. Otherwise copies of a row stay on one side."""
    train, validation = folder / specs.TRAIN_ROWS, folder / specs.VALIDATION_ROWS
    if held_out is not None:
        _copy(rows, train, stop)
        _copy(held_out, validation, stop)
        return
    if split.by_file:
        _write_by_side(rows, folder, stop)
        return
    keys = keys_of(rows, stop.is_set)
    drawn = validation_rows(len(keys), split.fraction, split.seed)
    held = without_copies(drawn, keys, split.seed)
    (folder / specs.HELD_OUT).write_text(json.dumps(sorted(held)), encoding="utf-8")
    with rows.open("rb") as lines, train.open("wb") as keep, validation.open("wb") as hold:
        for number, line in enumerate(lines):
            if stop.is_set():
                return
            (hold if number in held else keep).write(bare(line)[0] + b"\n")


def _copy(rows: Path, to: Path, stop: threading.Event) -> None:
    with rows.open("rb") as lines, to.open("wb") as out:
        for line in lines:
            if stop.is_set():
                return
            out.write(bare(line)[0] + b"\n")


def _write_by_side(rows: Path, folder: Path, stop: threading.Event) -> None:
    """As the rows say; those that say nothing are trained on, those for testing are in neither file."""
    numbers: dict[str, list[int]] = {VALIDATION: [], TEST: []}
    with rows.open("rb") as lines, ExitStack() as files:
        out = {
            side: files.enter_context((folder / name).open("wb"))
            for side, name in (("", specs.TRAIN_ROWS), (VALIDATION, specs.VALIDATION_ROWS))
        }
        for number, line in enumerate(lines):
            if stop.is_set():
                return
            row, side = bare(line)
            if side in numbers:
                numbers[side].append(number)
            if side != TEST:
                out[VALIDATION if side == VALIDATION else ""].write(row + b"\n")
    for side, name in ((VALIDATION, specs.HELD_OUT), (TEST, specs.LEFT_OUT)):
        (folder / name).write_text(json.dumps(numbers[side]), encoding="utf-8")


def write_few(rows: Path, first: int, folder: Path) -> None:
    """The rows from number `first` (0-based) on that are to be looked at."""
    with rows.open("rb") as lines, (folder / specs.TRAIN_ROWS).open("wb") as few:
        few.writelines(bare(line)[0] + b"\n" for line in islice(lines, first, first + ROWS_AT_ONCE))
