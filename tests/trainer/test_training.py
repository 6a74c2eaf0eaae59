"""Whole fine-tunes of the tiny model, as their own process: stopped, killed, resumed, and the same in the end."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from app.domain.evaluations.service import REREAD
from app.domain.jobs.config import TrainConfig
from tests.trainer.jobs import events, finish, of, start, succeeded, train_job, wait_for
from worker.trainer import checkpoints
from worker.trainer.engines import hf
from worker.trainer.protocol import (
    Answer,
    Artifact,
    Checkpoint,
    Done,
    Error,
    Event,
    Gpu,
    Log,
    Metric,
    Phase,
    Score,
    write_control,
)
from worker.trainer.settings import settle

pytestmark = pytest.mark.slow
STEPS = 40


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A run without a break; a checkpoint was asked for before it began."""
    folder = train_job(tmp_path_factory.mktemp("straight"), tiny_model)
    write_control(folder, "checkpoint")
    assert succeeded(finish(folder)), (folder / "output.txt").read_text()[-3000:]
    return folder


def losses(found: list[Event]) -> dict[int, float]:
    """Step -> training loss."""
    return {metric.step: metric.values["loss"] for metric in of(found, Metric) if "loss" in metric.values}


def adapter_hash(found: list[Event]) -> str:
    """The hash that the artifact's line states."""
    return of(found, Artifact)[0].sha256


def last_checkpoint(folder: Path) -> Path:
    """The newest checkpoint that was announced."""
    return folder / of(events(folder), Checkpoint)[-1].path


def test_a_run_tells_its_whole_story(straight: Path) -> None:
    found = events(straight)
    phases = list(dict.fromkeys(phase.phase for phase in of(found, Phase)))
    assert phases == ["preparing", "loading", "answering_before", "training", "answering_after", "saving"]
    assert list(losses(found)) == list(range(1, STEPS + 1))
    assert losses(found)[STEPS] < losses(found)[1]
    first = of(found, Metric)[0]
    assert {"loss", "learning_rate", "grad_norm", "tokens_per_second"} <= first.values.keys()
    assert first.total_steps == STEPS
    assert [(a.side, a.prompt) for a in of(found, Answer)] == [("before", 0), ("before", 1), ("after", 0), ("after", 1)]
    score = {(s.name, s.side): s.value for s in of(found, Score)}
    assert score["eval_loss", "after"] < score["eval_loss", "before"]
    assert score["perplexity", "before"] == pytest.approx(337, rel=0.5)
    assert (score[REREAD, "before"], score[REREAD, "after"]) == (1.0, 1.0)
    assert of(found, Gpu)[0].memory_used > 0
    assert of(found, Gpu)[-1].step == STEPS
    assert {"process_memory", "host_memory", "cpu_use"} <= of(found, Gpu)[-1].values.keys()
    assert "mean_token_accuracy" in first.values  # whatever the trainer logs
    assert any("no GPU" in line.message for line in of(found, Log))


def test_the_newest_two_checkpoints_and_the_best_lie_there(straight: Path) -> None:
    found = events(straight)
    looked_at = {m.step: m.values["eval_loss"] for m in of(found, Metric) if "eval_loss" in m.values}
    saved = {point.step: point.eval_loss for point in of(found, Checkpoint)}
    assert {step: loss for step, loss in saved.items() if loss is not None} == {
        step: loss for step, loss in looked_at.items() if step in saved
    }
    best = min(looked_at, key=lambda step: looked_at[step])
    there = {int(path.name.rpartition("-")[2]) for path in (straight / "checkpoints").glob("checkpoint-*")}
    assert there == {*sorted(saved)[-2:], best}
    assert any(f"at step {best} is the best so far" in line.message for line in of(found, Log))


def test_the_score_is_the_trainers_own_evaluation(straight: Path) -> None:
    found = events(straight)
    evaluated = [m.values["eval_loss"] for m in of(found, Metric) if "eval_loss" in m.values]
    after = next(s.value for s in of(found, Score) if (s.name, s.side) == ("eval_loss", "after"))
    assert len(evaluated) == 8  # every fifth of forty steps
    assert after == pytest.approx(evaluated[-1], abs=1e-4)


def test_a_checkpoint_on_request_is_made_once(straight: Path) -> None:
    made = of(events(straight), Checkpoint)
    assert [(c.step, c.reason) for c in made if c.reason != "schedule"] == [(1, "request"), (STEPS, "end")]
    kept = sorted((straight / "checkpoints").iterdir())
    assert [folder.name for folder in kept] == ["checkpoint-35", "checkpoint-40"]  # and the best is one of them
    assert all(checkpoints.is_complete(folder) for folder in kept)


def test_the_adapter_is_whole_and_names_no_path_of_this_machine(straight: Path) -> None:
    adapter = straight / "adapter"
    names = {file.name for file in adapter.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert not any((straight / "cwd").iterdir())


def test_paused_killed_and_resumed_is_the_same_run(straight: Path, tmp_path: Path, tiny_model: Path) -> None:
    pause_at, kill_at = random.randint(3, 15), random.randint(24, 34)
    paused = train_job(tmp_path / "a", tiny_model)
    child = start(paused)
    wait_for(paused, lambda found: pause_at in losses(found))
    write_control(paused, "pause")
    assert child.wait(60) == 0
    assert isinstance(events(paused)[-1], Done)
    assert of(events(paused), Done)[0].outcome == "paused"
    assert of(events(paused), Checkpoint)[-1].reason == "pause"

    both = (("before", 0), ("before", 1))
    killed = train_job(
        tmp_path / "b", tiny_model, resume_from=last_checkpoint(paused), answered=both, save_steps=3, eval_steps=4
    )
    child = start(killed)
    wait_for(killed, lambda found: kill_at in losses(found))
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not of(events(killed), Answer)

    resumed = train_job(tmp_path / "c", tiny_model, resume_from=last_checkpoint(killed), answered=both)
    found = finish(resumed)
    assert succeeded(found)
    before, after = losses(events(straight)), losses(found)
    assert after == {step: before[step] for step in after}
    assert losses(events(killed)).items() <= before.items()
    assert adapter_hash(found) == adapter_hash(events(straight))
    texts = [a.text for a in of(events(straight), Answer) if a.side == "after"]
    assert [a.text for a in of(found, Answer)] == texts


def test_a_loss_after_the_training_trains_nothing_again(straight: Path, tmp_path: Path, tiny_model: Path) -> None:
    answered = (("before", 0), ("before", 1), ("after", 0))
    folder = train_job(tmp_path / "job", tiny_model, resume_from=last_checkpoint(straight), answered=answered)
    found = finish(folder)
    assert succeeded(found)
    assert not of(found, Metric)
    assert [(a.side, a.prompt) for a in of(found, Answer)] == [("after", 1)]
    assert adapter_hash(found) == adapter_hash(events(straight))


def test_cancel_while_answering_is_heeded_between_two_tokens(tmp_path: Path, tiny_model: Path) -> None:
    folder = train_job(tmp_path / "job", tiny_model, max_new_tokens=400)
    child = start(folder)
    wait_for(folder, lambda found: any(p.phase == "answering_before" for p in of(found, Phase)))
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0
    found = events(folder)
    assert of(found, Done)[0].outcome == "cancelled"
    assert not of(found, Metric)


def test_unsloth_runs_the_same_job_and_agrees(straight: Path, tmp_path: Path, tiny_model: Path) -> None:
    folder = train_job(tmp_path / "job", tiny_model, engine="unsloth", max_steps=8)
    found = finish(folder)
    assert succeeded(found), (folder / "output.txt").read_text()[-3000:]
    own, plain = losses(found), losses(events(straight))
    assert [own[step] for step in (1, 2, 3)] == pytest.approx([plain[step] for step in (1, 2, 3)], abs=0.005)
    before = [a.text for a in of(found, Answer) if a.side == "before"]
    assert before == [a.text for a in of(events(straight), Answer) if a.side == "before"]
    assert of(found, Score)[0].value == pytest.approx(of(events(straight), Score)[0].value, abs=1e-4)
    assert not any((folder / "cwd").iterdir())


def test_packed_rows_do_not_read_one_another(tiny_model: Path) -> None:
    config = TrainConfig(base_model=str(tiny_model))
    model = hf.load(tiny_model, settle(config, None, 64, "hf", None, parameters=0), 64, foreign_code=False)
    first, second = [5, 6, 7, 8], [9, 10, 11]
    collate = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    packed = collate([{"input_ids": first + second, "labels": first + second, "seq_lengths": [4, 3]}])
    with torch.inference_mode():
        together = model(**packed, use_cache=False).logits[0]
        alone = [model(input_ids=torch.tensor([ids])).logits[0] for ids in (first, second)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_rows_that_are_all_bad_are_an_error_with_advice(tmp_path: Path, tiny_model: Path) -> None:
    folder = train_job(tmp_path / "job", tiny_model)
    (folder / "train.jsonl").write_text('{"messages": [{"role": "user", "content": "no answer"}]}\n')
    assert start(folder).wait(120) == 1
    found = events(folder)
    assert isinstance(found[-1], Error)
    assert found[-1].error_class == "bad_data"
    assert found[-1].advice
    assert any("no_answer" in line.message for line in of(found, Log))


def test_training_further_goes_on_from_the_adapter(straight: Path, tmp_path: Path, tiny_model: Path) -> None:
    found = events(finish_of(tmp_path / "further", tiny_model, start_from=straight / "adapter", max_steps=3))
    scores = {score.side: score.value for score in of(found, Score) if score.name == "eval_loss"}
    before = {score.side: score.value for score in of(events(straight), Score) if score.name == "eval_loss"}
    assert scores["before"] == pytest.approx(before["after"], abs=1e-5)
    assert {a.prompt: a.text for a in of(found, Answer) if a.side == "before"} == {
        a.prompt: a.text for a in of(events(straight), Answer) if a.side == "after"
    }
    assert losses(found)[1] < losses(events(straight))[1] - 0.1


def test_an_adapter_of_another_rank_is_refused_in_a_sentence(straight: Path, tmp_path: Path, tiny_model: Path) -> None:
    found = events(finish_of(tmp_path / "rank", tiny_model, start_from=straight / "adapter", max_steps=3, lora_r=4))
    error = of(found, Error)[0]
    assert (error.error_class, "rank" in error.advice) == ("bad_data", True)


def finish_of(folder: Path, model: Path, **changes: Any) -> Path:
    """A job run to its end; its folder."""
    finish(train_job(folder, model, **changes))
    return folder


def test_a_step_sees_the_same_rows_in_one_batch_or_in_four(tmp_path: Path, tiny_model: Path) -> None:
    """What lets a card take more rows at once; and a run goes on where another batch left off."""
    wish: dict[str, Any] = {"max_steps": 6, "lora_dropout": 0.0, "save_steps": 3}
    pieces: dict[str, Any] = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    whole: dict[str, Any] = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}
    four = finish(train_job(tmp_path / "four", tiny_model, **wish, **pieces))
    one = finish(train_job(tmp_path / "one", tiny_model, **wish, **whole))
    assert losses(one) == pytest.approx(losses(four), abs=2e-3)
    halfway = tmp_path / "four" / of(four, Checkpoint)[0].path
    rest = finish(train_job(tmp_path / "rest", tiny_model, resume_from=halfway, **wish, **whole))
    assert succeeded(rest), (tmp_path / "rest" / "output.txt").read_text()[-3000:]
    assert losses(rest) == pytest.approx({step: loss for step, loss in losses(four).items() if step > 3}, abs=2e-3)
