from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from app.domain.jobs.config import TrainConfig
from worker.trainer import protocol


def config(**changes: Any) -> TrainConfig:
    return TrainConfig.model_validate({"base_model": "owner/model"} | changes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": -1},
        {"learning_rate": 0},
        {"per_device_train_batch_size": 0},
        {"num_train_epochs": 0},
        {"validation_split": 0.9},
        {"base_model": ""},
        {"base_model": "https://example.org/model"},
        {"target_modules": ()},
        {"unknown": 1},
        {"questions": [{"prompt": "?"}] * 9},
    ],
)
def test_a_wrong_setting_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**wrong)


@pytest.mark.parametrize(
    "rows,epochs,batch,accumulation,steps",
    [(100, 3, 2, 4, 39), (94, 1, 2, 2, 24), (1, 1, 8, 8, 1), (16, 0.5, 2, 2, 2), (10, 1.5, 1, 1, 15)],
)
def test_steps_are_those_the_trainer_takes(rows: int, epochs: float, batch: int, accumulation: int, steps: int) -> None:
    made = config(num_train_epochs=epochs, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation)
    assert made.steps_for(rows) == steps
    assert config(max_steps=7).steps_for(rows) == 7


def test_the_settings_survive_the_job_file() -> None:
    made = config(questions=[{"prompt": " Why? "}], learning_rate="3e-4")
    assert TrainConfig.model_validate(json.loads(made.model_dump_json())) == made
    assert made.questions[0].prompt == "Why?"


def test_a_value_that_is_no_number_does_not_cost_the_others() -> None:
    line = protocol.Metric(step=3, values={"loss": 1.5, "grad_norm": float("nan")}).model_dump_json()
    assert protocol.parse(line).model_dump()["values"] == {"loss": 1.5}


def test_a_child_reads_an_order_once_it_is_whole(tmp_path: Any) -> None:
    control = protocol.Control(tmp_path)
    assert control.asked() is None
    protocol.write_control(tmp_path, "pause")
    assert control.asked() == "pause"
    protocol.write_control(tmp_path, "cancel")
    assert control.asked() == "cancel"
