"""Choices that follow from the device, the model's size and the rows."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from app.domain.jobs.config import FOUR_BIT_FROM, TrainConfig
from worker.child import JobError
from worker.trainer.callbacks import refuse_nan
from worker.trainer.data import propose_length
from worker.trainer.engines import choose_engine
from worker.trainer.settings import four_bit, optimizer, training_arguments


def config(**changes: object) -> TrainConfig:
    """A config with a few fields changed."""
    return TrainConfig.model_validate({"base_model": "alice/model", **changes})


def arguments(rows: int = 100, validation: int = 10, **changes: object) -> dict[str, object]:
    """What the trainer is told."""
    return training_arguments(
        config(**changes), Path("/job"), rows=rows, validation=validation, max_seq_length=64, cuda=False
    )


def test_the_engine_follows_the_device_and_says_why() -> None:
    name, why = choose_engine("auto", cuda=False)
    assert (name, "no GPU" in why) == ("hf", True)
    assert choose_engine("hf", cuda=True)[0] == "hf"


def test_an_engine_that_is_not_installed_is_refused_with_advice() -> None:
    if importlib.util.find_spec("unsloth"):
        assert choose_engine("auto", cuda=True)[0] == "unsloth"
        return
    with pytest.raises(JobError) as caught:
        choose_engine("unsloth", cuda=True)
    assert caught.value.error_class == "not_supported"


def test_four_bits_are_for_large_models_on_cuda() -> None:
    assert not four_bit(config(), FOUR_BIT_FROM, cuda=False, quantised=False)
    assert not four_bit(config(), FOUR_BIT_FROM - 1, cuda=True, quantised=False)
    assert not four_bit(config(), FOUR_BIT_FROM, cuda=True, quantised=True)
    assert not four_bit(config(load_in="none"), FOUR_BIT_FROM, cuda=True, quantised=False)
    with pytest.raises(JobError, match="CUDA"):
        four_bit(config(load_in="4bit"), 1, cuda=False, quantised=False)


def test_the_optimiser_follows_the_device() -> None:
    assert optimizer(config(), cuda=False) == "adamw_torch"
    with pytest.raises(JobError, match="8-bit"):
        optimizer(config(optim="adamw_8bit"), cuda=False)


def test_ten_evaluations_and_ten_checkpoints_a_run() -> None:
    assert arguments(max_steps=100)["eval_steps"] == 10
    assert arguments(max_steps=12)["save_steps"] == 5  # a short run is not all looking and saving
    assert arguments(max_steps=100, eval_steps=7)["eval_steps"] == 7
    assert arguments(validation=0)["eval_strategy"] == "no"


def test_a_long_run_logs_at_most_two_thousand_points() -> None:
    assert arguments(max_steps=2000)["logging_steps"] == 1
    assert arguments(max_steps=100_000)["logging_steps"] == 50


@pytest.mark.parametrize(
    ("lengths", "proposed"), [([], 64), ([10], 64), ([64], 64), ([65], 128), ([10] * 99 + [500], 512), ([9999], 2048)]
)
def test_the_proposed_length_covers_nearly_all_rows(lengths: list[int], proposed: int) -> None:
    assert propose_length(lengths) == proposed
    assert propose_length(lengths, context=512) == min(512, proposed)


def test_a_loss_that_is_no_number_ends_the_run_with_advice() -> None:
    refuse_nan({"loss": 1.0, "grad_norm": float("inf")}, step=3)
    with pytest.raises(JobError) as caught:
        refuse_nan({"loss": float("nan")}, step=4)
    assert caught.value.error_class == "nan_loss"
    assert "learning rate" in caught.value.advice
