"""The second look at answers sees what generation got wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from app.domain.evaluations.service import REREAD
from app.domain.jobs.config import Question, TrainConfig
from tests.trainer.jobs import events, of
from worker.child import Child
from worker.trainer import reread as module
from worker.trainer.answers import generate
from worker.trainer.chat import Chat, load_chat
from worker.trainer.protocol import Control, Emitter, Log, Score
from worker.trainer.reread import check_answers, reread

CONFIG = TrainConfig(base_model="x/y", questions=(Question(prompt="Say red then blue."),), max_new_tokens=6)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    """The tiny model, as it is."""
    return AutoModelForCausalLM.from_pretrained(tiny_model).eval()


@pytest.fixture(scope="module")
def chat(tiny_model: Path) -> Chat:
    """Its chat template."""
    return load_chat(tiny_model)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    """Its events go to the test's folder."""
    emitter = Emitter(tmp_path)
    yield Child(tmp_path, emitter, Control(tmp_path), {})
    emitter.close()


def test_a_greedy_answer_stands_the_second_look_whatever_the_temperature(
    model: Any, chat: Chat, child: Child, tmp_path: Path
) -> None:
    check_answers(model, chat, CONFIG.model_copy(update={"temperature": 1.0}), "before", child)
    (score,) = of(events(tmp_path), Score)
    assert (score.name, score.side, score.value) == (REREAD, "before", 1.0)
    assert not of(events(tmp_path), Log)


def test_another_word_is_seen_and_told(
    model: Any, chat: Chat, child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = chat.ids(chat.prompt("", "Say red then blue."))
    right = generate(model, chat, CONFIG, prompt, lambda: None)
    wrong = [*right[:2], (right[2] + 1) % 300, *right[3:]]
    assert reread(model, prompt, right).agreed == len(right)
    assert reread(model, prompt, wrong).agreed < len(wrong)
    monkeypatch.setattr(module, "generate", lambda *_: wrong)
    check_answers(model, chat, CONFIG, "after", child)
    assert of(events(tmp_path), Score)[0].value < 1
    (warning,) = of(events(tmp_path), Log)
    assert warning.level == "warning"
    assert "not the model's own choice" in warning.message


def test_without_a_question_nothing_is_looked_at(model: Any, chat: Chat, child: Child, tmp_path: Path) -> None:
    check_answers(model, chat, CONFIG.model_copy(update={"questions": ()}), "after", child)
    assert not events(tmp_path)
