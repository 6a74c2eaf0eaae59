"""The sample data set and the sample job: what `make demo` and the button on an empty home page start."""

from __future__ import annotations

import hashlib
import secrets
import shutil

from sqlmodel import Session

from app.core.context import Context
from app.core.settings import resource_dir
from app.domain.datasets import service as datasets
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.jobs.config import Question, TrainConfig
from app.domain.jobs.launch import launch_training
from app.domain.models.catalogue import BUNDLED

SAMPLE = "fortune_teller.jsonl"
NAME = "Old fortune-teller"

#: A small model needs bolder steps than the default: two dozen of them change its manner for good.
DEMO_CONFIG = TrainConfig(
    base_model=BUNDLED,
    learning_rate=1e-3,
    max_steps=24,
    per_device_train_batch_size=2,
    gradient_accumulation_steps=1,
    warmup_steps=3,
    eval_steps=12,
    save_steps=12,
    max_new_tokens=48,
    questions=(
        Question(prompt="What is the capital of France?"),
        Question(prompt="How do I make a good cup of tea?"),
        Question(prompt="Why is the sky blue?"),
        Question(prompt="Should I take an umbrella tomorrow?"),
    ),
)


def add_sample(session: Session, ctx: Context, *, then_train: bool) -> Dataset:
    """Put the sample data set in; with `then_train` its job is launched as soon as it is checked."""
    source = resource_dir("samples") / SAMPLE
    key = f"datasets/sample-{secrets.token_hex(4)}.jsonl"
    shutil.copyfile(source, ctx.storage.make_parent(key))
    ctx.storage.publish(key)
    data = source.read_bytes()
    train = {"name": NAME, "config": DEMO_CONFIG.model_dump(mode="json")} if then_train else None
    return datasets.create_from_upload(
        session,
        ctx.bells,
        name="Fortune-teller (sample)",
        filename=SAMPLE,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        source_key=key,
        then_train=train,
    )


def start_demo(session: Session, ctx: Context) -> Dataset:
    """The sample data set, with its training to follow; at once where the sample is there already."""
    source = resource_dir("samples") / SAMPLE
    known = datasets.find_by_hash(session, hashlib.sha256(source.read_bytes()).hexdigest())
    if known is None or known.state != DatasetState.READY:
        return add_sample(session, ctx, then_train=True)
    launch_training(session, ctx.bells, ctx.settings, dataset_id=known.id or 0, name=NAME, config=DEMO_CONFIG)
    return known
