"""What is chosen for a card where the settings leave it open."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.domain.jobs.config import TrainConfig
from app.domain.models.memory import GPUS, estimate
from app.domain.models.plan import Card, for_devices, plan
from app.domain.models.shapes import KNOWN

SIZES = dict(GPUS)
T4 = Card(SIZES["T4, 16 GB"], (7, 5))
RTX_3060 = Card(SIZES["RTX 3060, 12 GB"], (8, 6))
H200 = Card(SIZES["H200, 141 GB"], (9, 0))
R1_8B = KNOWN["deepseek-ai/DeepSeek-R1-Distill-Llama-8B"]
SMOL = KNOWN["HuggingFaceTB/SmolLM2-135M-Instruct"]
SMOL_1_7B = KNOWN["HuggingFaceTB/SmolLM2-1.7B-Instruct"]


def config(**changes: object) -> TrainConfig:
    """Settings with a few fields changed."""
    return TrainConfig.model_validate({"base_model": "x/y", **changes})


def test_a_t4_trains_in_float16_and_the_tutorials_model_in_four_bits() -> None:
    found = plan(config(), R1_8B, 2048, "unsloth", T4)
    assert (found.precision, found.optim, found.attention) == ("fp16", "adamw_8bit", "sdpa")
    assert found.four_bit
    assert found.gradient_checkpointing
    assert found.config.effective_batch_size == 8
    assert "float16" in found.notes[0]
    assert plan(config(), R1_8B, 2048, "unsloth", H200).precision == "bf16"


def test_the_batch_is_halved_until_it_fits_and_the_rows_a_step_stay() -> None:
    wish = config(per_device_train_batch_size=16, gradient_accumulation_steps=2)
    found = plan(wish, R1_8B, 4096, "hf", T4)
    settled = found.config
    assert settled.per_device_train_batch_size < 16
    assert settled.effective_batch_size == 32
    assert estimate(R1_8B, settled, 4096, "hf").verdict(T4.memory) != "no"
    assert any("to fit this card" in note for note in found.notes)
    untouched = plan(wish.model_copy(update={"fit_memory": False}), R1_8B, 4096, "hf", T4)
    assert untouched.config.per_device_train_batch_size == 16


def test_a_roomy_card_takes_more_rows_at_once_until_it_has_enough_to_do() -> None:
    small = plan(config(), SMOL_1_7B, 2048, "unsloth", H200)
    assert (small.config.per_device_train_batch_size, small.config.gradient_accumulation_steps) == (8, 1)
    assert any("has room" in note for note in small.notes)
    large = plan(config(load_in="4bit"), R1_8B, 2048, "unsloth", H200)
    assert large.config.per_device_train_batch_size == 2  # it is busy with two
    short = plan(config(load_in="4bit"), R1_8B, 2048, "unsloth", H200, mean_length=200)
    assert short.config.per_device_train_batch_size == 8
    assert plan(config(), SMOL_1_7B, 8192, "hf", T4).config.per_device_train_batch_size == 2  # no room
    assert plan(config(fit_memory=False), SMOL, 512, "hf", H200).config.per_device_train_batch_size == 2


def test_a_model_that_a_card_would_not_hold_is_loaded_in_four_bits() -> None:
    small = Card(4_000_000_000, (8, 6))
    found = plan(config(), SMOL_1_7B, 2048, "hf", small)
    assert found.four_bit
    assert "would not hold it" in " ".join(found.notes)
    assert not plan(config(), SMOL_1_7B, 2048, "hf", H200).four_bit
    assert not plan(config(load_in="none"), SMOL_1_7B, 2048, "hf", small).four_bit
    assert not plan(config(), SMOL_1_7B, 2048, "hf", small, bits=False).four_bit


def test_what_is_in_four_bits_already_is_not_brought_there_again() -> None:
    stored = replace(KNOWN["unsloth/Llama-3.2-3B-Instruct-bnb-4bit"], four_bit=True)
    assert not plan(config(), stored, 2048, "hf", H200).four_bit


def test_nothing_is_computed_twice_where_there_is_room() -> None:
    assert not plan(config(), SMOL, 512, "hf", H200).gradient_checkpointing
    assert plan(config(), R1_8B, 8192, "hf", RTX_3060).gradient_checkpointing
    assert plan(config(gradient_checkpointing="on"), SMOL, 512, "hf", H200).gradient_checkpointing
    assert not plan(config(gradient_checkpointing="off"), R1_8B, 8192, "hf", RTX_3060).gradient_checkpointing


def test_what_was_asked_for_is_kept() -> None:
    wish = config(precision="fp16", attention="eager", optim="adamw_torch", load_in="none")
    found = plan(wish, SMOL, 512, "hf", H200)
    assert (found.precision, found.attention, found.optim) == ("fp16", "eager", "adamw_torch")
    assert not found.four_bit
    assert not any("bits" in note or "float16" in note for note in found.notes)


def test_a_model_of_unknown_shape_keeps_its_batch() -> None:
    found = plan(config(per_device_train_batch_size=64), None, 8192, "hf", T4)
    assert found.config.per_device_train_batch_size == 64
    assert found.gradient_checkpointing


@pytest.mark.parametrize(("count", "batch", "steps"), [(1, 2, 4), (2, 2, 2), (4, 2, 1), (8, 1, 1)])
def test_several_devices_see_as_many_rows_a_step_as_one(count: int, batch: int, steps: int) -> None:
    changed, said = for_devices(config(), count)
    assert (changed.per_device_train_batch_size, changed.gradient_accumulation_steps) == (batch, steps)
    assert bool(said) == (count > 1)
    assert all("as asked" in sentence for sentence in said)


def test_where_the_rows_can_not_be_shared_equally_it_is_said() -> None:
    changed, said = for_devices(config(), 3)
    assert changed.effective_batch_size == 3
    assert "9 rows a step instead of 8" in said[0]
