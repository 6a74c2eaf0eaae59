"""One fine-tune, top to bottom: weights, tokens, before, train, after, save.

Everything slow happens once: one process, one load of the base model, both sets of answers from it.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import PrinterCallback, set_seed
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from app.domain.jobs.config import TrainConfig
from worker.child import Child, JobError
from worker.trainer import checkpoints, weights
from worker.trainer.answers import ask_all
from worker.trainer.callbacks import Counting, MemoryWatch, Orders, Reporter
from worker.trainer.chat import Chat, load_chat
from worker.trainer.data import Tokens, load_tokens
from worker.trainer.engines import EngineModule
from worker.trainer.protocol import Artifact
from worker.trainer.scores import score
from worker.trainer.settings import four_bit, training_arguments
from worker.trainer.specs import ADAPTER_DIR, CHECKPOINTS_DIR, TrainSpec
from worker.trainer.tokens import Encoded

_WEIGHTS = "adapter_model.safetensors"


def train(spec: TrainSpec, child: Child, engine: EngineModule) -> None:
    """Run the whole job. Raises `JobError`, `Stopped`, or whatever the libraries raise."""
    config, events = spec.config, child.events
    folder = weights.resolve(spec.model, child)
    child.stop_point()

    events.phase("loading", detail=config.base_model)
    chat = load_chat(folder)
    tokens = load_tokens(chat, child, config.max_seq_length, weights.context_length(folder))
    model = _load(folder, config, tokens.max_seq_length, engine, child)
    set_seed(config.seed)  # before the adapter is made: its start is random
    model = engine.attach_lora(model, config)
    if spec.start_from:
        _put_adapter(model, spec.start_from, child)
    _say_size(model, child)

    with MemoryWatch(child):
        _before(model, chat, tokens, spec, engine, child)
        set_seed(config.seed)  # again, so that a resumed run, which asks nothing, goes the same way
        _train(model, chat, tokens, spec, engine, child)
        _after(model, chat, tokens, spec, engine, child)
        events.phase("saving")
        _save_adapter(model, chat, config, engine, child)


def _load(folder: Path, config: TrainConfig, length: int, engine: EngineModule, child: Child) -> Any:
    cuda = torch.cuda.is_available()
    parameters = weights.parameter_count(folder)
    quantised = "quantization_config" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    small = four_bit(config, parameters, cuda=cuda, quantised=quantised)
    model = engine.load(folder, config, length, four_bit=small)
    where = torch.cuda.get_device_name() if cuda else f"the CPU with {torch.get_num_threads()} threads"
    kind = "4-bit" if small else "16-bit" if cuda else "32-bit"
    child.events.log(f"{config.base_model}: {parameters / 1e6:,.1f} million parameters, {kind}, on {where}.")
    child.stop_point()
    return model


def _put_adapter(model: Any, folder: Path, child: Child) -> None:
    """The weights that an earlier training ended with. Raises `JobError` when they are not for this model."""
    try:
        found = set_peft_model_state_dict(model, load_file(folder / _WEIGHTS))
    except RuntimeError as exc:  # other shapes
        found = exc
    if isinstance(found, RuntimeError) or found.unexpected_keys:
        raise JobError(
            "bad_data",
            "The adapter to go on from does not fit this model and these LoRA settings.",
            "Keep the base model, the rank and the parts adapted as they were, or start a fresh training.",
        )
    child.events.log("Going on from the adapter of an earlier training.")


def _say_size(model: Any, child: Child) -> None:
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    child.events.log(f"LoRA trains {trained:,} parameters.")


def _before(model: Any, chat: Chat, tokens: Tokens, spec: TrainSpec, engine: EngineModule, child: Child) -> None:
    """The very model that will be trained: with its adapter switched off, unless it brings an earlier one along."""
    with engine.answering(model), nullcontext() if spec.start_from else model.disable_adapter():
        ask_all(model, chat, spec.config, "before", child, spec.answered)
        if spec.resume_from is None:  # else an earlier attempt has said it before that checkpoint
            score(model, tokens.validation, "before", child)


def _after(model: Any, chat: Chat, tokens: Tokens, spec: TrainSpec, engine: EngineModule, child: Child) -> None:
    with engine.answering(model):
        ask_all(model, chat, spec.config, "after", child, spec.answered)
        score(model, tokens.validation, "after", child)


def _train(model: Any, chat: Chat, tokens: Tokens, spec: TrainSpec, engine: EngineModule, child: Child) -> None:
    """Train to the end or to a stop, from the start or from a checkpoint."""
    config = spec.config
    orders = Orders(child)
    counted = Counting()
    arguments = training_arguments(
        config,
        child.job_dir,
        rows=_batches_of(config, tokens),
        validation=len(tokens.validation),
        max_seq_length=tokens.max_seq_length,
        cuda=torch.cuda.is_available(),
    )
    trainer = engine.make_trainer(
        model,
        copy.deepcopy(chat.tokenizer),  # an engine may turn its padding side behind our back
        arguments,
        (_dataset(tokens.train), _dataset(tokens.validation) if tokens.validation else None),
        None if config.packing else DataCollatorForLanguageModeling(pad_token_id=chat.tokenizer.pad_token_id),
        [orders, Reporter(child, counted)],  # the reporter last: its clock leaves out what the others did
    )
    trainer.data_collator = counted.around(trainer.data_collator)
    trainer.remove_callback(PrinterCallback)  # the events say it
    _run(trainer, model, spec, child)
    shutil.rmtree(child.job_dir / CHECKPOINTS_DIR / ".part", ignore_errors=True)
    if orders.stopped:
        raise orders.stopped
    child.stop_point()


def _run(trainer: Any, model: Any, spec: TrainSpec, child: Child) -> None:
    resume = spec.resume_from
    if resume is None:
        trainer.train()
        return
    if not checkpoints.is_complete(resume):
        raise JobError(
            "bad_data", f"The checkpoint {resume.name} is damaged or incomplete.", "Start again, or from an older one."
        )
    step = checkpoints.step_of(resume)
    child.events.log(f"Going on from the checkpoint at step {step}.")
    if step >= _planned_steps(resume):  # nothing is left to train
        set_peft_model_state_dict(model, load_file(resume / _WEIGHTS))
    else:
        trainer.train(resume_from_checkpoint=str(resume))


def _planned_steps(checkpoint: Path) -> int:
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return int(state["max_steps"])


def _batches_of(config: TrainConfig, tokens: Tokens) -> int:
    """Rows as the trainer counts them; packing makes fewer of them, each nearly full."""
    if not config.packing:
        return len(tokens.train)
    return -(-tokens.train_tokens // tokens.max_seq_length)


def _dataset(rows: Sequence[Encoded]) -> Dataset:
    return Dataset.from_list([{"input_ids": row.input_ids, "labels": row.labels} for row in rows])


def _save_adapter(model: Any, chat: Chat, config: TrainConfig, engine: EngineModule, child: Child) -> None:
    """Adapter, tokenizer and chat template: what the answers were asked with, and nothing of this machine's paths."""
    out = child.job_dir / ADAPTER_DIR
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    for lora in model.peft_config.values():
        lora.base_model_name_or_path = config.base_model
        lora.revision = config.revision or None
    engine.save(model, part)
    chat.tokenizer.save_pretrained(part)
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    child.events.emit(
        Artifact(artifact="adapter", path=ADAPTER_DIR, size=size, sha256=checkpoints.sha256_of(out / _WEIGHTS))
    )
