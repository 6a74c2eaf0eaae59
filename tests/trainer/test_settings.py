"""Choices that follow from the device, the model's size and the rows."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from app.domain.jobs.config import FOUR_BIT_FROM, TrainConfig
from app.domain.models.plan import Card, Plan
from worker.child import JobError
from worker.trainer.callbacks import refuse_nan
from worker.trainer.data import propose_length
from worker.trainer.engines import choose_engine
from worker.trainer.environment import see_gpus
from worker.trainer.settings import settle, training_arguments


def config(**changes: object) -> TrainConfig:
    """A config with a few fields changed."""
    return TrainConfig.model_validate({"base_model": "alice/model", **changes})


def arguments(rows: int = 100, validation: int = 10, **changes: object) -> dict[str, object]:
    """What the trainer is told."""
    return training_arguments(settled(**changes), Path("/job"), rows=rows, validation=validation, max_seq_length=64)


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


def settled(**changes: object) -> Plan:
    """What the CPU makes of a config."""
    return settle(config(**changes), None, 64, "hf", None, parameters=FOUR_BIT_FROM)


def test_the_cpu_trains_in_float32_with_the_plain_optimiser() -> None:
    found = settled()
    assert (found.precision, found.optim) == ("fp32", "adamw_torch")
    assert not found.four_bit
    assert not found.gradient_checkpointing
    assert settled(gradient_checkpointing="on").gradient_checkpointing


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"load_in": "4bit"}, "CUDA"),
        ({"optim": "adamw_8bit"}, "8-bit"),
        ({"precision": "bf16"}, "float32"),
        ({"attention": "flash_attention_2"}, "flash-attn"),
    ],
)
def test_what_the_cpu_can_not_do_is_refused_with_advice(asked: dict[str, str], word: str) -> None:
    with pytest.raises(JobError, match=word) as caught:
        settled(**asked)
    assert "Choose for me" in caught.value.advice


def test_a_card_without_what_was_asked_for_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    t4 = Card(15_000_000_000, (7, 5))
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # not installed
    with pytest.raises(JobError, match="bitsandbytes"):
        settle(config(load_in="4bit"), None, 64, "hf", t4, parameters=1)
    found = settle(config(), None, 64, "hf", t4, parameters=FOUR_BIT_FROM)
    assert (found.optim, found.four_bit, found.precision) == ("adamw_torch", False, "fp16")
    with pytest.raises(JobError, match="bfloat16"):
        settle(config(precision="bf16"), None, 64, "hf", t4, parameters=1)


def test_only_as_many_gpus_as_asked_for_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c")
    see_gpus(2)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    see_gpus(1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


def test_several_gpus_are_for_the_plain_engine() -> None:
    assert choose_engine("auto", cuda=True, processes=2)[0] == "hf"
    with pytest.raises(JobError, match="one GPU"):
        choose_engine("unsloth", cuda=True, processes=2)


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
