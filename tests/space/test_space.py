"""What takes space is told, what may go goes with its files, and nothing starts that the disk can't hold."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from sqlmodel import Session

from app.core.context import Context, make_context
from app.core.db import utcnow
from app.core.disk import Walk, forget_walks
from app.core.settings import Settings
from app.domain.datasets.models import Dataset
from app.domain.errors import ConflictError, NoSpaceError, NotFoundError
from app.domain.exports import service as exports
from app.domain.jobs import checkpoints, joblog, leftovers, retention, service
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.models import Artifact, Checkpoint, Job, JobAttempt
from app.domain.jobs.states import JobState
from app.domain.jobs.sweeper import Sweeper
from app.domain.models.catalogue import BUNDLED
from app.domain.preferences import service as preferences
from app.domain.preferences.service import Retention
from app.domain.space import estimate, removal
from app.domain.space.usage import usage
from app.web.views.outlook import outlook
from tests.web import seeding
from worker.runner import Runner


def saved(ctx: Context, session: Session, job: Job, *steps: int) -> list[Path]:
    """Checkpoints of attempt 1, with a kilobyte each."""
    job_id = job.id or 0
    session.merge(JobAttempt(job_id=job_id, attempt=1))
    folders = []
    for step in steps:
        key = f"runs/{job_id}/a1/checkpoints/checkpoint-{step}"
        ctx.storage.make_parent(f"{key}/weights").write_bytes(bytes(1000))
        session.add(Checkpoint(job_id=job_id, step=step, attempt=1, storage_key=key, size=1000))
        ctx.storage.publish(key)
        folders.append(ctx.storage.path(key))
    session.flush()
    return folders


def ended(ctx: Context, state: JobState, days: float, *, name: str = "old") -> tuple[int, list[Path]]:
    with ctx.db.session(write=True) as session:
        job = seeding.training(session, ctx, seeding.dataset(session, ctx, name), name)
        seeding.end(session, job, JobState.FAILED)
        job.state = state
        job.finished_at = utcnow() - timedelta(days=days)
        return job.id or 0, saved(ctx, session, job, 5, 10)


def kept(ctx: Context, job_id: int) -> int:
    with ctx.db.session() as session:
        return len(checkpoints.of_job(session, job_id))


def test_old_checkpoints_of_ended_jobs_go_and_all_others_stay(any_ctx: Context) -> None:
    ctx = any_ctx
    old, files = ended(ctx, JobState.SUCCEEDED, 8)
    young, _ = ended(ctx, JobState.SUCCEEDED, 6, name="young")
    failed, _ = ended(ctx, JobState.FAILED, 8, name="failed")
    cancelled, _ = ended(ctx, JobState.CANCELLED, 15, name="cancelled")
    with ctx.db.session(write=True) as session:
        paused = seeding.training(session, ctx, 1, "paused")
        session.execute(sa.update(Job).where(sa.column("id") == paused.id).values(state=JobState.PAUSED))
        saved(ctx, session, paused, 5)
    for _ in range(2):  # another process does the same
        Sweeper(ctx).look()
    assert [kept(ctx, number) for number in (old, young, failed, cancelled, paused.id or 0)] == [0, 2, 2, 0, 1]
    assert not any(folder.exists() for folder in files)
    with ctx.db.session() as session:
        said = [line.payload.get("message", "") for line in joblog.log_lines(session, old)]
        seqs = [event.seq for event in service.events_after(session, old, 0)]
    assert len([line for line in said if "kept as long as Storage says" in line]) == 1
    assert seqs == list(range(1, len(seqs) + 1))


def test_the_rules_can_be_changed_and_a_live_child_holds_everything(ctx: Context) -> None:
    job_id, _ = ended(ctx, JobState.SUCCEEDED, 0)
    with ctx.db.session(write=True) as session:
        preferences.write(session, Retention(succeeded_days=None, failed_days=None))
        assert retention.expired(session, preferences.read(session, Retention)) == []
        assert retention.expired(session, Retention(succeeded_days=0)) == [job_id]
        child = seeding.training(session, ctx, 1, "further")
        child.parent_id = job_id
        session.flush()
        assert retention.expired(session, Retention(succeeded_days=0)) == []
    with pytest.raises(ConflictError):
        retention.remove_checkpoints(ctx, job_id, "by hand")
    with ctx.db.session(write=True) as session:
        service.cancel(session, ctx.bells, child.id or 0)
    assert retention.remove_checkpoints(ctx, job_id, "by hand") == 2000


def test_on_shared_storage_the_others_copies_go_too(s3_settings: Settings, migrated_sqlite: Path) -> None:
    s3_settings.root.mkdir(parents=True)
    shutil.copyfile(migrated_sqlite, s3_settings.root / "tunedeck.db")
    ctx = make_context(s3_settings, worker=True)
    job_id, files = ended(ctx, JobState.SUCCEEDED, 30)
    other = make_context(s3_settings.model_copy(update={"data_dir": s3_settings.root / "other"}))
    key = ctx.storage.key(files[0])
    copy = other.storage.ensure(key)
    assert copy.exists()
    Sweeper(ctx).look()
    assert kept(ctx, job_id) == 0
    other_db = replace(other, db=ctx.db)
    leftovers.remove(other_db)
    assert not copy.exists()
    assert not other.storage.ensure(key).exists()
    for each in (ctx, other):
        each.db.dispose()


def test_a_fetch_that_takes_days_is_no_leftover(ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        session.add(Dataset(name="d", filename="d", size=0, sha256="", source_key="datasets/src-1"))
    for number in (1, 2):
        folder = ctx.storage.make_parent(f"datasets/src-{number}.part/whole").parent
        os.utime(folder, (0, 0))
    leftovers.remove(ctx)
    assert [each.name for each in ctx.storage.path("datasets").iterdir()] == ["src-1.part"]


def test_usage_names_what_takes_space(ctx: Context) -> None:
    world = seeding.world(ctx)
    with ctx.db.session(write=True) as session:
        saved(ctx, session, session.get_one(Job, world.done), 5)
        ctx.storage.make_parent(f"runs/{world.done}/merged/model.safetensors").write_bytes(bytes(9000))
        model = ctx.settings.model_cache / "org--model"
        model.mkdir(parents=True)
        (model / "weights").write_bytes(bytes(70_000))
        (model.parent / ".removing-1").mkdir()
    forget_walks()
    with ctx.db.session() as session:
        found = usage(ctx, session)
    first = found.trainings[0]
    assert (first.id, first.checkpoints, first.checkpoint_bytes, first.merged_bytes) == (world.done, 1, 1000, 9000)
    assert first.total == first.seen == 1_400_002 + 5004 + 1000 + 9000
    assert [(each.folder, each.total) for each in found.models] == [("org--model", 70_000)]
    assert {each.name for each in found.datasets} == {"good", "bad"}
    assert [each.total for each in found.trainings] == sorted((each.total for each in found.trainings), reverse=True)
    assert found.whole
    assert 0 < found.free < found.disk


def test_a_walk_ends_in_time_and_counts_a_file_once(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / "a" / str(number)).mkdir(parents=True)
        (tmp_path / "a" / str(number) / "f").write_bytes(bytes(10))
    os.link(tmp_path / "a/1/f", tmp_path / "a/1/same")
    (tmp_path / "a/elsewhere").symlink_to("/")
    (tmp_path / "b").write_bytes(bytes(3))
    found = Walk().of(tmp_path)
    assert (found.sizes["b"], found.inner["a/1"], found.whole) == (3, 10, True)
    assert 100 <= found.sizes["a"] < 200
    assert not Walk(files=4).of(tmp_path).whole
    assert Walk().of(tmp_path / "nowhere").total == 0


def test_an_export_goes_with_its_files_and_the_adapter_does_not(ctx: Context) -> None:
    world = seeding.world(ctx)
    with ctx.db.session() as session:
        file = ctx.storage.path(session.get_one(Artifact, world.gguf).storage_key)
    with ctx.db.session(write=True) as session:
        making = exports.request_export(session, ctx.bells, world.done, "merged")
    with pytest.raises(ConflictError):
        removal.remove_export(ctx, world.gguf)
    with ctx.db.session(write=True) as session:
        service.cancel(session, ctx.bells, making.id or 0)
    assert file.exists()
    removal.remove_export(ctx, world.gguf)
    assert not file.exists()
    with pytest.raises(NotFoundError):
        removal.remove_export(ctx, world.gguf)
    with pytest.raises(ConflictError):
        removal.remove_export(ctx, world.adapter)
    merged = ctx.storage.make_parent(f"runs/{world.done}/merged/model.safetensors")
    merged.write_bytes(b"w")
    removal.remove_merged(ctx, world.done)
    assert not merged.parent.exists()


def test_a_base_model_stays_while_a_job_needs_it(ctx: Context) -> None:
    world = seeding.world(ctx)
    folder = ctx.settings.model_cache / BUNDLED.replace("/", "--")
    (folder / "nested").mkdir(parents=True)
    with pytest.raises(ConflictError):
        removal.remove_model(ctx, folder.name)
    with ctx.db.session(write=True) as session:
        for number in (world.running, world.queued):
            service.delete(session, ctx.bells, number)
        session.execute(sa.update(Job).values(state=JobState.CANCELLED))
    removal.remove_model(ctx, folder.name)
    assert list(folder.parent.iterdir()) == []
    for name in (folder.name, "..", "../x--y", "", ".removing--x", "a--b/../../c"):
        with pytest.raises(NotFoundError):
            removal.remove_model(ctx, name)


Disk = Callable[[int], None]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Says how much is left on the disk."""

    def left(free: int) -> None:
        full = SimpleNamespace(total=10**12, used=10**12 - free, free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: full)

    return left


def test_estimates_follow_the_model(ctx: Context) -> None:
    config = TrainConfig(base_model=BUNDLED)
    small = estimate.checkpoint_bytes(ctx.settings, config)
    assert 60e6 < small < 90e6
    assert estimate.checkpoint_bytes(ctx.settings, config.model_copy(update={"lora_r": 32})) > 1.7 * small
    whole = estimate.export_bytes(ctx.settings, config, "merged", "", merged=False)
    assert 260e6 < whole < 300e6
    assert estimate.export_bytes(ctx.settings, config, "gguf", "q8_0", merged=True) == pytest.approx(413e6, rel=0.02)
    unknown = TrainConfig(base_model="nobody/knows")
    assert estimate.training_bytes(ctx.settings, unknown, 5) == 0
    away = TrainConfig(base_model="Qwen/Qwen3-8B")
    assert estimate.training_bytes(ctx.settings, away, 0) > 16e9
    estimate.refuse_without_room("It", 0, 0)
    with pytest.raises(NoSpaceError, match=r"about 2.0 GB and the disk has 1.0 GB left: 1.5 GB more"):
        estimate.refuse_without_room("It", 2_000_000_000, 1_000_000_000)


def test_a_training_and_an_export_are_refused_before_they_start(ctx: Context, disk: Disk) -> None:
    disk(400_000_000)
    with ctx.db.session(write=True) as session:
        dataset = seeding.dataset(session, ctx)
        training = seeding.training(session, ctx, dataset)
        made = seeding.training(session, ctx, dataset, "made")
        seeding.run(session, made)
        seeding.finish(session, ctx, made)
        export = exports.request_export(session, ctx.bells, made.id or 0, "gguf", "q8_0")
    for queue, job, what in (("gpu", training, "This training"), ("light", export, "This export")):
        assert Runner(ctx, "w", queue).run_waiting() == 1
        with ctx.db.session() as session:
            failed = session.get_one(Job, job.id)
        assert (failed.state, failed.error["class"]) == ("failed", "disk_full")
        assert failed.error["message"].startswith(what)
        assert "400 MB left" in failed.error["message"]
        assert "Storage page" in failed.error["advice"]


def test_the_form_warns_of_a_disk_that_is_too_full(ctx: Context, disk: Disk) -> None:
    with ctx.db.session(write=True) as session:
        dataset = session.get_one(Dataset, seeding.dataset(session, ctx))
        for free, warned in ((100_000_000, True), (50_000_000_000, False)):
            disk(free)
            found = outlook(session, ctx.settings, dataset, TrainConfig(base_model=BUNDLED), None)
            assert any("Storage page" in sentence for sentence in found.warnings) is warned
            assert "Disk" in [item["label"] for item in found.items]
