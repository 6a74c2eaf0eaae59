"""Nothing that can carry code is loaded: said at every call of ours, and looked up in the libraries' own."""

from __future__ import annotations

import ast
import importlib.util
import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.context import Context
from tests.trainer.jobs import events, finish_warm, of, train_job
from tests.trainer.test_weights import _Trap
from worker.process import child_env
from worker.trainer import checkpoints
from worker.trainer.protocol import Checkpoint, Error

ROOT = Path(__file__).resolve().parents[2]
_TOKENIZER = {"AutoTokenizer"}
_MODELS = {"AutoModelForCausalLM", "FastLanguageModel"}


def calls(source: str, method: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method:
            yield node


def owner(call: ast.Call) -> str:
    assert isinstance(call.func, ast.Attribute)
    return call.func.value.id if isinstance(call.func.value, ast.Name) else ""


def test_every_load_of_ours_says_whether_code_may_run_and_takes_safetensors() -> None:
    found = set()
    for file in (ROOT / "worker").rglob("*.py"):
        for call in calls(file.read_text(encoding="utf-8"), "from_pretrained"):
            said = {keyword.arg for keyword in call.keywords}
            if owner(call) in _TOKENIZER | _MODELS:
                found.add(owner(call))
                assert "trust_remote_code" in said, f"{file}:{call.lineno}"
            if owner(call) in _MODELS and "gguf_file" not in said:  # that file's hash is known
                assert "use_safetensors" in said, f"{file}:{call.lineno}"
    assert found == _TOKENIZER | _MODELS


def test_nothing_of_ours_unpickles() -> None:
    for file in (*(ROOT / "worker").rglob("*.py"), *(ROOT / "app").rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        assert "torch.load" not in text, file
        assert "pickle.load" not in text, file


@pytest.mark.parametrize("module", ["transformers.trainer", "transformers.modeling_utils", "peft.utils.save_and_load"])
def test_the_libraries_load_weights_only(module: str) -> None:
    """A checkpoint's optimizer.pt, scheduler.pt and rng_state.pth are pickles that transformers reads."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    for call in calls(Path(spec.origin).read_text(encoding="utf-8"), "load"):
        if owner(call) == "torch":
            said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert said.get("weights_only") in {"True", "weights_only"}, f"{module}:{call.lineno}"


def test_no_variable_switches_that_off(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in child_env(ctx.settings)


@pytest.fixture(scope="module")
def checkpoint(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a real training; to be copied."""
    job = train_job(tmp_path_factory.mktemp("first"), tiny_model, max_steps=4, save_steps=2, questions=(), engine="hf")
    return job / of(finish_warm(job), Checkpoint)[0].path


@pytest.mark.slow
@pytest.mark.parametrize("file", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_checkpoint_with_a_planted_pickle_springs_nothing(
    tiny_model: Path, checkpoint: Path, tmp_path: Path, file: str
) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(checkpoint, kept)
    (kept / file).write_bytes(pickle.dumps(_Trap(tmp_path / "sprung")))
    again = train_job(tmp_path / "damaged", tiny_model, max_steps=4, questions=(), engine="hf", resume_from=kept)
    (error,) = of(finish_warm(again), Error)
    assert "damaged" in error.message  # the manifest's hash says so

    names = [path for path in kept.iterdir() if path.name != checkpoints.MANIFEST]
    sealed = {path.name: checkpoints._entry(path) for path in names}  # somebody who can write there may write it anew
    (kept / checkpoints.MANIFEST).write_text(json.dumps({"files": sealed}))
    assert checkpoints.is_complete(kept)
    forged = train_job(tmp_path / "forged", tiny_model, max_steps=4, questions=(), engine="hf", resume_from=kept)
    finish_warm(forged)
    assert of(events(forged), Error)
    assert not (tmp_path / "sprung").exists()
