"""Code of a model's author: refused in words, run only where it was allowed, and never with a network."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakehub import FakeHub
from tests.tiny_model import build_own_model
from tests.trainer.jobs import events, of, start, train_job
from worker.child import Child, JobError
from worker.seclusion import SECLUDE_ENV
from worker.trainer import foreign_code, weights
from worker.trainer.protocol import Control, Done, Emitter, Error, Log
from worker.trainer.specs import ExportSpec, ModelSpec, TrainSpec, read_spec, write_spec

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    """A child without a runner."""
    (tmp_path / "job").mkdir()
    made = Emitter(tmp_path / "job")
    yield Child(tmp_path / "job", made, Control(tmp_path / "job"), {})
    made.close()


@pytest.fixture
def hub(fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """The stand-in, as the Hub of this process."""
    monkeypatch.setenv("HF_ENDPOINT", fake_hub.endpoint)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    return fake_hub


def own(tmp_path: Path, tiny_model: Path, port: int = 9) -> dict[str, bytes]:
    """The files of a model that needs its author's code, which leaves `tmp_path/ran`."""
    folder = build_own_model(tmp_path / "own", tiny_model, tmp_path / "ran", port)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def spec(cache: Path, **more: Any) -> ModelSpec:
    return ModelSpec(**{"base_model": "ada/own", "model_cache": cache, **more})


def test_it_is_allowed_for_one_model_at_one_commit_alone(tmp_path: Path) -> None:
    assert foreign_code.is_allowed(spec(tmp_path, revision=COMMIT, code_at=COMMIT))
    for wrong in (
        {"revision": COMMIT},
        {"code_at": COMMIT},
        {"revision": "main", "code_at": "main"},
        {"revision": COMMIT, "code_at": "f" * 40},
        {"revision": COMMIT[:12], "code_at": COMMIT[:12]},
        {"base_model": str(tmp_path), "revision": COMMIT, "code_at": COMMIT},
    ):
        assert not foreign_code.is_allowed(spec(tmp_path, **wrong))


def test_without_it_no_weights_are_fetched_and_the_way_is_told(
    hub: FakeHub, tiny_model: Path, tmp_path: Path, child: Child
) -> None:
    hub.add("ada/own", own(tmp_path, tiny_model))
    with pytest.raises(JobError, match="needs code of its author") as caught:
        weights.resolve(spec(tmp_path / "cache"), child)
    assert (caught.value.error_class, "Settings page" in caught.value.advice) == ("not_supported", True)
    asked = [path for _, path, _, _ in hub.requests]
    assert not any(path.endswith((".safetensors", ".py")) for path in asked)
    assert not list((tmp_path / "cache").rglob("*.py"))


def test_with_it_the_code_comes_from_that_commit_into_a_folder_of_its_own(
    hub: FakeHub, tiny_model: Path, tmp_path: Path, child: Child
) -> None:
    files = own(tmp_path, tiny_model)
    commit = hub.add("ada/own", files)
    later = hub.add("ada/own", files | {"modeling_own.py": b"raise SystemExit('another')"})
    assert later != commit
    folder = weights.resolve(spec(tmp_path / "cache", revision=commit, code_at=commit), child)
    assert folder.name == f"ada--own@{commit}+code"
    assert (folder / "modeling_own.py").read_bytes() == files["modeling_own.py"]
    with pytest.raises(JobError, match="needs code"):  # the folder is no way in for a job that may not
        weights.resolve(spec(tmp_path / "cache", revision=commit), child)


def test_a_branch_that_is_named_like_a_commit_is_found_out(
    hub: FakeHub, tiny_model: Path, tmp_path: Path, child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hub.add("ada/own", own(tmp_path, tiny_model))
    repo = hub.repos["ada/own"]
    monkeypatch.setattr(repo, "at", lambda _: (real, repo.commits[real]))
    with pytest.raises(JobError, match="not the one whose code was allowed"):
        weights.resolve(spec(tmp_path / "cache", revision=COMMIT, code_at=COMMIT), child)


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json"])
def test_code_of_another_repository_is_refused(
    hub: FakeHub, tiny_model: Path, tmp_path: Path, child: Child, where: str
) -> None:
    files = own(tmp_path, tiny_model)
    named = {"AutoTokenizer": [None, "eve/evil--tokenizer.Evil"]}
    files[where] = json.dumps(json.loads(files[where]) | {"auto_map": named}).encode()
    commit = hub.add("ada/own", files)
    with pytest.raises(JobError, match="another repository") as caught:
        weights.resolve(spec(tmp_path / "cache", revision=commit, code_at=commit), child)
    assert "eve/evil" in caught.value.message


def test_a_known_architecture_that_also_brings_code_needs_none(
    hub: FakeHub, tiny_model: Path, tmp_path: Path, child: Child
) -> None:
    files = own(tmp_path, tiny_model)
    config = json.loads(files["config.json"]) | {"model_type": "llama"}
    hub.add("ada/own", files | {"config.json": json.dumps(config).encode(), "adapter_config.json": b"{}"})
    folder = weights.resolve(spec(tmp_path / "cache"), child)
    assert {file.suffix for file in folder.iterdir()} == {".json", ".jinja", ".safetensors"}
    assert not (folder / "adapter_config.json").exists()


def _job(tmp_path: Path, tiny_model: Path, folder: Path, **model: Any) -> Path:
    """A training whose model lies in the cache."""
    job = train_job(tmp_path / "job2", tiny_model, max_steps=2, questions=(), engine="hf")
    made = read_spec(job, TrainSpec)
    write_spec(job, made.model_copy(update={"model": spec(folder.parent, offline=True, **model)}))
    return job


@pytest.mark.slow
def test_a_training_never_asks_and_runs_none_of_it(tiny_model: Path, tmp_path: Path) -> None:
    folder = build_own_model(tmp_path / "cache" / "ada--own", tiny_model, tmp_path / "ran")
    job = _job(tmp_path, tiny_model, folder)
    assert start(job).wait(timeout=120) == 1
    (error,) = of(events(job), Error)
    assert (error.error_class, "needs code of its author" in error.message) == ("not_supported", True)
    assert "[y/N]" not in (job / "output.txt").read_text()
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_allowed_it_runs_and_reaches_nobody(tiny_model: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        kept = tmp_path / "cache" / f"ada--own@{COMMIT}+code"
        folder = build_own_model(kept, tiny_model, tmp_path / "ran", port)
        job = _job(tmp_path, tiny_model, folder, revision=COMMIT, code_at=COMMIT)
        assert start(job, HF_HOME=str(tmp_path / "hf"), **{SECLUDE_ENV: "1"}).wait(timeout=200) == 0, events(job)
    assert isinstance(events(job)[-1], Done)
    assert (tmp_path / "ran").read_text() == "PermissionError"
    assert any("Code of the author" in log.message for log in of(events(job), Log))


@pytest.mark.slow
def test_what_was_trained_that_way_is_merged_that_way(tiny_model: Path, tmp_path: Path) -> None:
    kept = tmp_path / "cache" / f"ada--own@{COMMIT}+code"
    folder = build_own_model(kept, tiny_model, tmp_path / "ran")
    job = _job(tmp_path, tiny_model, folder, revision=COMMIT, code_at=COMMIT)
    assert start(job, HF_HOME=str(tmp_path / "hf")).wait(timeout=200) == 0, events(job)
    (tmp_path / "ran").unlink()
    wish: dict[str, Any] = {"artifact": "merged", "name": "own", "converter_dir": tmp_path, "out": tmp_path / "out"}
    for allowed in ("", COMMIT):
        export = tmp_path / f"export-{allowed}"
        export.mkdir()
        model = spec(folder.parent, revision=COMMIT, code_at=allowed, offline=True)
        write_spec(export, ExportSpec(model=model, adapter=job / "adapter", merged=tmp_path / "merged", **wish))
        code = start(export, "export", HF_HOME=str(tmp_path / "hf"), **{SECLUDE_ENV: "1"}).wait(timeout=200)
        assert (code == 0, (tmp_path / "ran").exists()) == (bool(allowed), bool(allowed)), events(export)
    assert (tmp_path / "ran").read_text() == "PermissionError"
    assert (tmp_path / "merged" / "modeling_own.py").is_file()
