"""How things are said: numbers, differences, progress, settings, audits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError
from markupsafe import Markup

from app.core.context import Context
from app.core.db import utcnow
from app.core.settings import resource_dir
from app.domain.datasets import service as datasets
from app.domain.jobs import service as jobs
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.models import Job, Metric
from app.domain.jobs.states import JobKind, JobState
from app.domain.metrics.pace import runs_on, seconds_per_step
from app.domain.workers import service as workers
from app.web import filters
from app.web.render import environment, static, translate
from app.web.views.answers import differences
from app.web.views.audit_words import warnings_of
from app.web.views.chosen import settings_view
from app.web.views.fields import ADVANCED, BASIC, BY_NAME, SPLIT, defaults
from app.web.views.jobs import job_view, phase_items
from app.web.views.numbers import score_items
from app.web.views.outlook import outlook
from app.web.zipping import zip_stream
from tests.web import seeding


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("number", 1234567, "1,234,567"),
        ("loss", 1.23456, "1.2346"),
        ("loss", None, "–"),
        ("rate", 0.0002, "2e-4"),
        ("rate", 1, "1e0"),
        ("rate", 1.5e-5, "1.5e-5"),
        ("percent", 0.104, "10 %"),
        ("filesize", 0, "0 B"),
        ("filesize", 999, "999 B"),
        ("filesize", 105_400_000, "105.4 MB"),
        ("filesize", 5e15, "5000.0 TB"),
        ("duration", 59.4, "59 s"),
        ("duration", 250, "4 min 10 s"),
        ("duration", 7260, "2 h 1 min"),
        ("duration", -5, "0 s"),
    ],
)
def test_numbers_in_words(name: str, value: Any, said: str) -> None:
    assert filters.ALL[name](value) == said  # type: ignore[operator]


@pytest.mark.parametrize(
    "back, said", [(2, "now"), (200, "3 min. ago"), (7300, "2 hr. ago"), (90_000, "yesterday"), (300_000, "3 days ago")]
)
def test_times_are_relative_with_the_exact_one_on_hover(back: int, said: str) -> None:
    shown = filters.ago(utcnow() - timedelta(seconds=back))
    assert isinstance(shown, Markup)
    assert f">{said}</time>" in shown
    assert 'title="20' in shown
    assert filters.ago(datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)).count("2026-01-01 00:00:00 UTC") == 1
    assert filters.ago(None) == "–"


WORDS = st.lists(st.sampled_from(["the", "sky", "is", "blue", "，", "天空", "<b>", " ", "\n"]), max_size=20).map(
    "".join
)


@given(WORDS, WORDS)
@settings(max_examples=80, deadline=None)
def test_marks_never_change_the_text(before: str, after: str) -> None:
    left, right = differences(before, after)
    assert "".join(text for _, text in left) == before
    assert "".join(text for _, text in right) == after
    assert {kind for kind, _ in left} <= {"same", "gone"}
    assert {kind for kind, _ in right} <= {"same", "new"}


def test_what_changed_is_marked() -> None:
    left, right = differences("It is blue.", "It is blue, dear child.")
    assert left == [("same", "It is blue.")]
    assert ("new", ", dear child") in right
    assert differences("abc", "xyz " * 30)[1] == [("same", "xyz " * 30)]
    signs = differences("首都是北京。", "孩子，首都是北京。")[1]
    assert signs == [("new", "孩子，"), ("same", "首都是北京。")]


def test_messages_are_filled_in_safely() -> None:
    assert translate("10 %% of %(name)s", name="<b>") == "10 % of <b>"
    filled = translate("%(a)s & %(b)s", a=Markup("<time>"), b="<b>")
    assert filled == Markup("<time> &amp; &lt;b&gt;")


def test_a_name_nobody_passed_is_an_error_and_a_missing_key_is_false() -> None:
    render = environment().from_string
    assert render("{% if row.nothing %}x{% endif %}{{ row.nothing == 0 }}").render(row={}) == "False"
    for wrong in ("{% if nobody %}{% endif %}", "{{ nobody }}", "{{ row.nothing }}", "{{ nobody == 1 }}"):
        with pytest.raises(UndefinedError):
            render(wrong).render(row={})


def test_a_static_address_changes_with_the_file() -> None:
    assert static("app.css").startswith("/static/app.css?v=")
    assert static("app.css") != static("ui.js")
    assert Path(resource_dir("static") / "app.css").is_file()


def test_every_setting_of_a_training_has_its_field_and_its_help() -> None:
    assert set(TrainConfig.model_fields) - {"questions", "adapter_of"} == set(BY_NAME)
    shown = [*BASIC, SPLIT, *(field for _, group in ADVANCED for field in group)]
    assert all(field.label and field.help.endswith(".") for field in shown)
    assert set(defaults()) == set(BY_NAME)


def test_settings_show_differences_first() -> None:
    view = settings_view(seeding.CONFIG.model_copy(update={"lora_r": 32, "packing": True}).model_dump(mode="json"))
    assert [(item["label"], item["value"], item["was"]) for item in view.chosen[1:]] == [
        ("Pack short rows together", "on", "off"),
        ("LoRA rank", "32", "16"),
    ]
    values = {item["label"]: item["value"] for item in view.default}
    assert (values["Validate every"], values["Kept for validation"]) == ("ten times a run", "10 %")


def job(**values: Any) -> Job:
    given: dict[str, Any] = {
        "kind": JobKind.TRAIN,
        "subject_id": 1,
        "queue": "gpu",
        "name": "x",
        "state": JobState.RUNNING,
    }
    return Job(**(given | values))


def test_progress_in_words() -> None:
    training = job_view(job(phase="training", step=12, total_steps=40), pace=2.0)
    assert (training.progress["text"], training.progress["left"]) == ("Step 12 of 40", "56 s left")
    fetching = job(phase="downloading", phase_done=5e6, phase_total=2e7, phase_unit="bytes")
    assert job_view(fetching).progress["text"] == "Fetching the model: 5.0 MB of 20.0 MB"
    assert [item["state"] for item in phase_items(fetching)].index("now") == 1
    assert (
        job_view(job(state=JobState.CANCELLING, phase="training", step=1, total_steps=9))
        .progress["text"]
        .startswith("Stopping")
    )
    assert job_view(job(state=JobState.QUEUED)).phase == "Waiting for a worker"


def test_scores_say_which_way_they_went() -> None:
    loss, other = score_items({"eval_loss": {"before": 2.0, "after": 1.0}, "rouge_l": {"before": 0.2, "after": 0.1}})
    assert (loss["was"], loss["value"], loss["verdict"], loss["note"]) == ("2.0000", "1.0000", "better", "50 % lower")
    assert (other["label"], other["verdict"]) == ("Rouge l", "worse")
    (before,) = score_items({"eval_loss": {"before": 2.0}})
    assert (before["value"], before["note"]) == ("2.0000", "before training")


def test_the_audit_warns_in_sentences() -> None:
    copies = seeding.REPORT.copies.model_copy(update={"leaked": 2})
    bad = {"nothing_supervised": 1, "end_of_turn_supervised": 0.9, "copies": copies, "template_changed": True}
    report = seeding.REPORT.model_copy(update=bad | {"template_note": "Its template is changed."})
    said = warnings_of(report)
    assert len(said) == 10
    assert said[0] == "Mail addresses stand in 1 row. A model learns them by heart; take out real ones."
    assert any(sentence.startswith("1 row has nothing to learn within 64 tokens") for sentence in said)
    assert "2 held-out rows are trained on as well, so the validation loss flatters." in said
    assert said[-1] == "Its template is changed."


NO_QUESTION = "No question is asked, so there will be no answers to compare."


def test_the_outlook_tells_memory_by_part_and_what_would_fit_this_gpu(ctx: Context) -> None:
    config = TrainConfig(base_model="Qwen/Qwen3-8B", load_in="none", per_device_train_batch_size=8)
    gpu = {"index": 0, "name": "T4", "total": 15_640_000_000, "used": 0, "load": None}
    with ctx.db.session(write=True) as session:
        rows = datasets.get_dataset(session, seeding.dataset(session, ctx))
        told = outlook(session, ctx.settings, rows, config, None)
        assert told.memory is not None
        assert told.memory["total"] == sum(size for _, size in told.memory["parts"])
        assert dict(told.memory["cards"])["H200, 141 GB"] == "fits"
        assert (told.memory["there"], told.memory["verdict"], told.warnings[-1]) == (0, "", NO_QUESTION)
        workers.hello(session, name="w", queue="gpu", host="h", pid=1, facts={"gpus": [gpu], "engines": ["hf"]})
        told = outlook(session, ctx.settings, rows, config, None)
        assert told.memory is not None
        assert told.memory["verdict"] == "no"
        assert ("Batch", "1 × 32") in told.chosen
        assert "loading in 4 bits" in told.warnings[-1]
        unknown = outlook(session, ctx.settings, rows, config.model_copy(update={"base_model": "a/b"}), None)
        assert unknown.memory is None
        assert unknown.items[-1]["note"] == "told once the model is on this machine"


def test_the_time_goes_by_earlier_runs_of_the_model(ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        rows = seeding.dataset(session, ctx)
        for speed in (100.0, 200.0):
            job = seeding.training(session, ctx, rows)
            seeding.run(session, job, steps=6)
            found = [
                Metric(job_id=job.id or 0, attempt=1, name="tokens_per_second", step=n, value=speed) for n in (3, 4)
            ]
            first = Metric(job_id=job.id or 0, attempt=1, name="tokens_per_second", step=1, value=1.0)
            session.add_all([*found, first])
            assert jobs.move(session, job.id or 0, [JobState.RUNNING], JobState.SUCCEEDED)
        assert [run.speed for run in runs_on(session, "")] == [200.0, 100.0]
        assert runs_on(session, "another worker") == []


def test_the_pace_is_that_of_this_attempt(ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        running = seeding.training(session, ctx, seeding.dataset(session, ctx))
        seeding.run(session, running, steps=2)
        assert seconds_per_step(session, [running]) == {}
        seeding.run(session, queued := seeding.training(session, ctx, running.subject_id), steps=6)
        assert list(seconds_per_step(session, [running, queued])) == [queued.id]
        assert seconds_per_step(session, []) == {}


def test_an_empty_folder_makes_an_empty_archive(tmp_path: Path) -> None:
    assert b"".join(zip_stream(tmp_path, "x")).startswith(b"PK\x05\x06")
