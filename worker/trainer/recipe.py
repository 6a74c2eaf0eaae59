"""One fine-tune, top to bottom: weights, tokens, before, train, after, save.

Everything slow happens once: one process, one load of the base model, both sets of answers from it.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import PrinterCallback, set_seed
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from app.domain.jobs.config import TrainConfig
from app.domain.models.memory import with_batch
from app.domain.models.plan import Card, Plan, for_devices
from app.domain.models.shapes import shape_in
from worker.child import Child, JobError
from worker.trainer import checkpoints, ranks, weights
from worker.trainer.answers import ask_all
from worker.trainer.callbacks import Counting, Orders, Reporter
from worker.trainer.chat import Chat, load_chat
from worker.trainer.data import Tokens, load_tokens
from worker.trainer.engines import EngineModule
from worker.trainer.foreign_code import is_allowed
from worker.trainer.protocol import Artifact
from worker.trainer.reread import check_answers
from worker.trainer.scores import score
from worker.trainer.settings import settle, training_arguments
from worker.trainer.specs import ADAPTER_DIR, CHECKPOINTS_DIR, TrainSpec
from worker.trainer.telemetry import Telemetry
from worker.trainer.tokens import Encoded

_WEIGHTS = "adapter_model.safetensors"


def train(spec: TrainSpec, child: Child, engine: EngineModule) -> None:
    """Run the whole job. Raises `JobError`, `Stopped`, or whatever the libraries raise."""
    config, events = spec.config, child.events
    folder = weights.resolve(spec.model, child)
    _seclude(child)
    child.stop_point()

    events.phase("loading", detail=config.base_model)
    foreign_code = is_allowed(spec.model)
    chat = load_chat(folder, foreign_code=foreign_code)
    tokens = load_tokens(chat, child, config.max_seq_length, weights.context_length(folder))
    settled = _settle(folder, spec, tokens, engine, child)
    model = _load(folder, settled, tokens.max_seq_length, engine, child, foreign_code=foreign_code)
    set_seed(config.seed)  # before the adapter is made: its start is random
    model = engine.attach_lora(model, settled)
    if spec.start_from:
        _put_adapter(model, spec.start_from, child)
    _say_size(model, child)

    if spec.resume_from is not None:  # what is sampled from here on lies behind it
        child.step = checkpoints.step_of(spec.resume_from)
    with Telemetry(child):
        if ranks.rank() == 0:
            _before(model, chat, tokens, spec, engine, child)
        set_seed(config.seed)  # again, so that a resumed run, which asks nothing, goes the same way
        _train(model, chat, tokens, spec, settled, engine, child)
        if ranks.rank() > 0:
            return
        _after(model, chat, tokens, spec, engine, child)
        events.phase("saving")
        _save_adapter(model, chat, config, engine, child)


def _seclude(child: Child) -> None:
    """Leave the network; but several processes, one for each GPU, talk over TCP.

    CUDA first: where the driver's device files are not there yet it has a privileged helper make them, and what has
    left the network gets no privilege any more.
    """
    if ranks.world_size() > 1:
        return
    if torch.cuda.is_available():
        torch.cuda.init()
    child.seclude()


def _settle(folder: Path, spec: TrainSpec, tokens: Tokens, engine: EngineModule, child: Child) -> Plan:
    """What is open in the settings, chosen for this device and said. A resumed run keeps its batch if that fits."""
    config = spec.config
    shape = shape_in(folder)
    if shape is not None and shape.four_bit:
        shape = replace(shape, stored_bytes=sum(file.stat().st_size for file in folder.glob("*.safetensors")))
    card = None
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info(ranks.rank())
        card = Card(free, torch.cuda.get_device_capability(ranks.rank()))
    shared, notes = for_devices(config, ranks.world_size())
    if spec.resume_from is not None and checkpoints.is_complete(spec.resume_from):
        shared = with_batch(shared, _state_of(spec.resume_from)["train_batch_size"])
    settled = settle(
        shared,
        shape,
        tokens.max_seq_length,
        engine.NAME,
        card,
        parameters=weights.parameter_count(folder),
        mean_length=0.0 if config.packing else tokens.train_tokens / max(1, len(tokens.train)),
    )
    for note in (*notes, *settled.notes):
        child.events.log(note)
    return settled


def _load(folder: Path, settled: Plan, length: int, engine: EngineModule, child: Child, *, foreign_code: bool) -> Any:
    if foreign_code:
        child.events.log(f"Code of the author of {settled.config.base_model} runs in this job, as it was allowed.")
    model = engine.load(folder, settled, length, foreign_code=foreign_code)
    cuda = torch.cuda.is_available()
    where = torch.cuda.get_device_name() if cuda else f"the CPU with {torch.get_num_threads()} threads"
    many = f"{ranks.world_size()} × " if ranks.world_size() > 1 else ""
    kind = "4-bit" if settled.four_bit else settled.precision
    count = weights.parameter_count(folder) / 1e6
    child.events.log(f"{settled.config.base_model}: {count:,.1f} million parameters, {kind}, on {many}{where}.")
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
        if ask_all(model, chat, spec.config, "before", child, spec.answered):
            check_answers(model, chat, spec.config, "before", child)
        if spec.resume_from is None:  # else an earlier attempt has said it before that checkpoint
            score(model, tokens.validation, "before", child)


def _after(model: Any, chat: Chat, tokens: Tokens, spec: TrainSpec, engine: EngineModule, child: Child) -> None:
    with engine.answering(model):
        if ask_all(model, chat, spec.config, "after", child, spec.answered):
            check_answers(model, chat, spec.config, "after", child)
        score(model, tokens.validation, "after", child)


def _train(
    model: Any, chat: Chat, tokens: Tokens, spec: TrainSpec, settled: Plan, engine: EngineModule, child: Child
) -> None:
    """Train to the end or to a stop, from the start or from a checkpoint."""
    config = settled.config
    orders = Orders(child, minutes=config.save_minutes, best_loss=spec.best_loss)
    counted = Counting()
    arguments = training_arguments(
        settled,
        child.job_dir,
        rows=-(-_batches_of(config, tokens) // ranks.world_size()),
        validation=len(tokens.validation),
        max_seq_length=tokens.max_seq_length,
    )
    trainer = engine.make_trainer(
        model,
        copy.deepcopy(chat.tokenizer),  # an engine may turn its padding side behind our back
        arguments,
        (_dataset(tokens.train), _dataset(tokens.validation) if tokens.validation else None),
        None if config.packing else DataCollatorForLanguageModeling(pad_token_id=chat.tokenizer.pad_token_id),
        [orders, Reporter(child, counted)],  # the reporter last: its clock leaves out what the others did
        checkpointing=settled.gradient_checkpointing,
    )
    trainer.data_collator = counted.around(trainer.data_collator)
    trainer.remove_callback(PrinterCallback)  # the events say it
    _run(trainer, model, spec, child)
    ranks.wait_for_all()
    if ranks.rank() == 0:
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
    if step >= _state_of(resume)["max_steps"]:  # nothing is left to train
        set_peft_model_state_dict(model, load_file(resume / _WEIGHTS))
    else:
        ranks.know_numbered_cpus()
        trainer.train(resume_from_checkpoint=str(_with_batch_of(trainer, resume)))


def _state_of(checkpoint: Path) -> dict[str, Any]:
    """How far the trainer was, and with which batch."""
    state: dict[str, Any] = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return state


def _with_batch_of(trainer: Any, checkpoint: Path) -> Path:
    """The trainer takes the batch that stands in a checkpoint, but not its accumulation: there must be its own."""
    state = _state_of(checkpoint)
    batch = trainer.args.per_device_train_batch_size
    if state["train_batch_size"] == batch:
        return checkpoint
    changed = checkpoint.with_name(".resumed")
    shutil.rmtree(changed, ignore_errors=True)
    shutil.copytree(checkpoint, changed)
    (changed / "trainer_state.json").write_text(json.dumps(state | {"train_batch_size": batch}), encoding="utf-8")
    return changed


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
