"""What the trainer's callbacks count."""

from __future__ import annotations

from worker.trainer.callbacks import Counting


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
