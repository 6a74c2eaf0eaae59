"""What a new job is said to take: on which card, how long, and for how much."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import Session

from app.core.context import Context
from app.domain.datasets import service as datasets
from app.domain.jobs import service as jobs
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.models import Job, Metric
from app.domain.jobs.states import JobState
from app.domain.metrics.forecast import Wish, forecast
from app.domain.models.catalogue import BUNDLED
from app.domain.models.shapes import KNOWN
from app.domain.models.speed import tflops, tokens_per_second
from app.domain.preferences import service as preferences
from app.domain.preferences.service import Prices
from app.domain.workers import service as workers
from app.web.views.audits import AuditView
from app.web.views.numbers import gpu_hours
from app.web.views.outlook import Outlook, outlook
from benchmarks.gpu.cells import ALL
from tests.models.test_memory import RUNS, shape
from tests.web import seeding

CONFIG = TrainConfig(base_model="meta-llama/Llama-3.2-1B-Instruct")
H200 = {"index": 0, "name": "NVIDIA H200", "total": 150_100_000_000, "used": 0, "load": None, "capability": "9.0"}
T4 = {"index": 0, "name": "Tesla T4", "total": 15_640_000_000, "used": 0, "load": None, "capability": "7.5"}


def told(session: Session, ctx: Context, gpu: dict[str, Any] | None, config: TrainConfig = CONFIG) -> Outlook:
    """The panel with a finished audit and one living worker."""
    facts = {"gpus": [gpu] if gpu else [], "engines": ["hf", "unsloth"]}
    workers.hello(session, name="w", queue="gpu", host="h", pid=1, facts=facts)
    rows = datasets.get_dataset(session, seeding.dataset(session, ctx))
    audit = AuditView(Job(kind="audit", name="x", subject_id=1, queue="light"), "org/model", seeding.REPORT)
    return outlook(session, ctx.settings, rows, config, audit)


def item(found: Outlook, label: str) -> dict[str, Any]:
    """The item with this label."""
    return next(one for one in found.items if one["label"] == label)


def test_what_is_chosen_for_the_card_is_shown_with_its_reason(ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        old = told(session, ctx, T4)
        assert ("Precision", "float16") in old.chosen
        assert "float16" in old.notes[0]
        new = told(session, ctx, H200)
        assert {("Precision", "bfloat16"), ("Batch", "8 × 1"), ("Activations", "kept")} <= set(new.chosen)
        assert told(session, ctx, None).chosen == []
        assert new.memory
        assert dict(new.memory["cards"])["RTX 3060, 12 GB"] == "fits"  # with what would be chosen there


def test_the_time_has_an_interval_and_a_price(ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        preferences.write(session, Prices(gpu_hour=3.6, currency="EUR"))
        found = told(session, ctx, H200)
        assert " to " in item(found, "Training time")["value"]
        assert "guess from the card" in item(found, "Training time")["note"]
        assert item(found, "Cost")["value"].endswith(" EUR")
        assert item(found, "Cost")["note"] == "at 3.60 EUR a GPU hour"
        unknown = told(session, ctx, {**H200, "name": "Some card"})
        assert not [one for one in unknown.items if one["label"] in ("Training time", "Cost")]


def finished(session: Session, ctx: Context, speed: float, config: TrainConfig) -> None:
    """A training that went at `speed` on worker w."""
    job = seeding.training(session, ctx, seeding.dataset(session, ctx))
    seeding.run(session, job, steps=6)
    job.worker, job.config = "w", config.model_dump(mode="json")
    session.add_all(
        Metric(job_id=job.id or 0, attempt=1, name="tokens_per_second", step=n, value=speed) for n in (3, 4)
    )
    session.flush()
    assert jobs.move(session, job.id or 0, [JobState.RUNNING], JobState.SUCCEEDED)


def test_earlier_runs_count_for_more_than_the_card(ctx: Context) -> None:
    small = CONFIG.model_copy(update={"base_model": BUNDLED})
    wish = Wish(CONFIG, KNOWN[CONFIG.base_model], 500.0, "unsloth", checkpointing=False, card_tflops=989, worker="w")
    with ctx.db.session(write=True) as session:
        by_card = forecast(session, ctx.settings, wish)
        finished(session, ctx, 9000.0, small)
        by_others = forecast(session, ctx.settings, wish)
        finished(session, ctx, 1000.0, CONFIG)
        finished(session, ctx, 1200.0, CONFIG)
        by_same = forecast(session, ctx.settings, wish)
    assert by_card
    assert by_others
    assert by_same
    assert [one.basis for one in (by_card, by_others, by_same)] == ["card", "other models", "same model"]
    assert by_others.slow < 9000 * 134 / 1236 < by_others.fast
    assert [by_same.slow, by_same.fast] == pytest.approx([909, 1320], abs=1)
    assert by_same.runs == 2


def test_what_a_job_took_of_gpus_is_told_with_its_cost(ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        job = seeding.training(session, ctx, seeding.dataset(session, ctx))
        job.config = {**job.config, "gpus": 2}
        (tile,) = gpu_hours(job, 1800, {"device": "NVIDIA H200"}, Prices(gpu_hour=2.0))
        assert (tile["value"], tile["note"]) == ("1.00", "2.00 USD")
        assert gpu_hours(job, 1800, {"device": "cpu"}, Prices(gpu_hour=2.0)) == []


NAMED_BY = ("card", "cell", "engine", "pair")


def measured() -> list[dict[str, Any]]:
    """Timed runs with rows as long as the sequence."""
    full = {cell.name for cell in ALL if cell.rows == "full"}
    return [run for run in RUNS if run.get("timed") and run["cell"] in full]


@pytest.mark.parametrize(
    "run", measured(), ids=lambda run: f"{run['card']}-{run['cell']}-{run['engine']}-{run['pair']}"
)
def test_the_model_of_a_card_is_within_its_interval(run: dict[str, Any]) -> None:
    """Of the cards, two were measured: what is said of the others is as good as their data sheets."""
    cell = next(cell for cell in ALL if cell.name == run["cell"])
    config = CONFIG.model_copy(update={"per_device_train_batch_size": cell.batch})
    again = cell.checkpointing == "on"
    said = tokens_per_second(
        shape(cell.model),
        config,
        cell.length,
        run["engine"],
        tflops(f"NVIDIA {run['card'].upper()}"),
        checkpointing=again,
    )
    assert 0.5 <= said / run["tokens_per_second"] <= 2.0
