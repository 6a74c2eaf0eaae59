"""What the trainer's callbacks count, and which checkpoints they keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from tests.trainer.jobs import events, of
from worker.child import Child
from worker.trainer.callbacks import Counting, Orders
from worker.trainer.protocol import Checkpoint, Control, Emitter, Log


def test_tokens_count_when_their_batch_is_used_not_when_a_loader_makes_it() -> None:
    counted = Counting()
    collate = counted.around(lambda rows: rows)
    for length in (3, 4, 5):  # a loader is one batch ahead of the two that a step takes
        collate([{"input_ids": [0] * length}])
    counted.used()
    counted.used()
    assert counted.take() == 7
    for _ in range(4):  # validation rows go through the same collator
        collate([{"input_ids": [0] * 100}])
    counted.evaluated()
    collate([{"input_ids": [0] * 6}])
    counted.used()
    counted.used()
    assert (counted.take(), counted.take()) == (11, 0)


class Trained:
    """A trainer's hours in a few lines: its folder, its state, and the callback under test."""

    def __init__(self, folder: Path, **how: float) -> None:
        self.folder = folder
        self.child = Child(folder, Emitter(folder), Control(folder), {})
        self.orders = Orders(self.child, **how)
        self._args = TrainingArguments(output_dir=str(folder / "checkpoints" / ".part"), use_cpu=True)

    def step(self, number: int, eval_loss: float | None = None) -> bool:
        """One step, looked at where a loss is given; whether the trainer then saves by itself."""
        state, control = TrainerState(global_step=number, max_steps=10_000), TrainerControl()
        self.orders.on_step_end(self._args, state, control)
        if eval_loss is not None:
            self.orders.on_evaluate(self._args, state, control, metrics={"eval_loss": eval_loss})
        return control.should_save

    def save(self, number: int) -> None:
        """The trainer writes its files, and tells."""
        part = Path(self._args.output_dir or "") / f"checkpoint-{number}"
        part.mkdir(parents=True)
        (part / "weights").write_text("w")
        self.orders.on_save(self._args, TrainerState(global_step=number), TrainerControl())

    def kept(self) -> list[int]:
        """Steps of the checkpoints that lie there."""
        return sorted(int(path.name.rpartition("-")[2]) for path in (self.folder / "checkpoints").glob("checkpoint-*"))


@pytest.fixture
def trained(tmp_path: Path) -> Iterator[Callable[..., Trained]]:
    """Makes one, and closes its events at the end."""
    made: list[Trained] = []

    def make(**how: float) -> Trained:
        made.append(Trained(tmp_path, **how))
        return made[-1]

    yield make
    for run in made:
        run.child.events.close()


Make = Callable[..., Trained]


def test_the_newest_two_checkpoints_and_the_best_are_kept(tmp_path: Path, trained: Make) -> None:
    run = trained()
    for number, loss in ((5, 3.0), (10, 1.5), (15, 1.5), (20, 2.0), (25, None), (30, float("nan"))):
        run.step(number, loss)
        run.save(number)
    assert run.kept() == [10, 25, 30]
    told = events(tmp_path)
    assert [(point.step, point.eval_loss) for point in of(told, Checkpoint)][-3:] == [(20, 2.0), (25, None), (30, None)]
    assert [line.message for line in of(told, Log)][-1] == "The checkpoint at step 10 is the best so far: 1.5000."


def test_a_resumed_run_knows_the_best_of_before(tmp_path: Path, trained: Make) -> None:
    run = trained(best_loss=1.0)
    for number in (5, 10, 15):
        run.step(number, 1.2)
        run.save(number)
    assert run.kept() == [10, 15]
    assert not of(events(tmp_path), Log)


def test_a_checkpoint_is_also_due_by_the_clock(trained: Make) -> None:
    assert not trained().step(1)
    assert not trained(minutes=60).step(1)
    run = trained(minutes=1e-9)
    assert run.step(1)
    run.orders._seconds = 3600
    run.save(1)
    assert not run.step(2)
