"""Base model + adapter -> one 16-bit model in a folder of its own, proved against the adapter it came from."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from peft import PeftModel

from app.domain.models.folders import read_json
from worker.child import Child, JobError
from worker.export import reference
from worker.export.files import Manifest, finish_folder, manifest_of, need_space, read_manifest, sha256_of
from worker.trainer.foreign_code import is_allowed
from worker.trainer.specs import ExportSpec

#: Written by sentencepiece tokenizers only, and only the base has it; llama.cpp's converter wants it.
_FROM_BASE = ("tokenizer.model", "tokenizer.model.v3", "tekken.json")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "merges.txt",
)
_STEPS = 5
ADAPTER_WEIGHTS = "adapter_model.safetensors"


def merged_model(child: Child, spec: ExportSpec, base: Path) -> Manifest:
    """Make `spec.merged`, or find it finished. Afterwards the folder is whole."""
    with _alone(child, spec.merged):
        found = read_manifest(spec.merged)
        if found and found.adapter == sha256_of(spec.adapter / ADAPTER_WEIGHTS):
            child.events.log("The merged model of this run is already here and is used again.")
            return found
        return _merge(child, spec, base)


@contextmanager
def _alone(child: Child, folder: Path) -> Iterator[None]:
    """Two exports of one run must not merge at the same time; the kernel drops the lock of a dead process."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.parent / f".{folder.name}.lock")
    while True:
        child.stop_point()
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            continue
        break
    try:
        yield
    finally:
        lock.release()


def _merge(child: Child, spec: ExportSpec, base: Path) -> Manifest:
    config = _read_config(base)
    need_space(spec.merged.parent, reference.weights_size(base), "merged model")
    part = spec.merged.parent / f".{spec.merged.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    started = time.monotonic()
    foreign_code = is_allowed(spec.model)
    copy_tokenizer(spec.adapter, base, part)
    if foreign_code:
        _copy_code(base, part)
    else:
        _name_no_code(part)
    tokenizer = reference.load_tokenizer(part, foreign_code=foreign_code)
    asked = reference.prompts(tokenizer, spec.asked)
    dtype = reference.working_dtype(base)

    _step(child, 0, "loading the base model")
    whole = reference.load_model(base, dtype, foreign_code=foreign_code)
    model = PeftModel.from_pretrained(whole, spec.adapter, torch_device="cpu").eval()
    _step(child, 1, "asking the adapter")
    before = [reference.logprobs(model, prompt.ids) for prompt in asked]
    _step(child, 2, "merging")
    merged = _into_one(model).to(merged_dtype(config))
    _step(child, 3, "saving")
    merged.save_pretrained(part, max_shard_size="4GB")
    if not foreign_code:
        _name_no_code(part)
    reference.release(merged)
    del whole, model, merged

    _step(child, 4, "asking the merged model")
    saved = reference.load_model(part, dtype, foreign_code=foreign_code)
    after = [reference.logprobs(saved, prompt.ids) for prompt in asked]
    reference.release(saved)
    del saved
    _step(child, 5, "")
    manifest = manifest_of(part)
    manifest.adapter = sha256_of(spec.adapter / ADAPTER_WEIGHTS)
    manifest.proof = _proof(before, after, merged_dtype(config), dtype, time.monotonic() - started)
    finish_folder(part, spec.merged, manifest)
    return manifest


def _step(child: Child, done: int, detail: str) -> None:
    child.stop_point()
    child.events.phase("merging", done, _STEPS, "steps", detail)


def _read_config(base: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((base / "config.json").read_text(encoding="utf-8"))
    method = (config.get("quantization_config") or {}).get("quant_method")
    if method:
        raise JobError(
            "not_supported",
            f"The base model is stored quantised ({method}); a merge needs its 16-bit weights.",
            "Fine-tune from the 16-bit model of the same name; training can still load it in 4 bit.",
        )
    return config


def merged_dtype(config: dict[str, Any]) -> torch.dtype:
    """float16 for models made in float16, bfloat16 for all others: float16 can overflow in models not made for it."""
    made_in = config.get("dtype") or config.get("torch_dtype")
    return torch.float16 if made_in == "float16" else torch.bfloat16


def _into_one(model: Any) -> Any:
    try:
        return model.merge_and_unload(safe_merge=True)
    except ValueError as exc:
        if "NaN" not in str(exc):
            raise
        raise JobError(
            "nan_loss",
            "The adapter holds values that are not numbers; it can't be merged.",
            "Train again with a lower learning rate.",
        ) from exc


def copy_tokenizer(adapter: Path, base: Path, into: Path) -> None:
    """The tokenizer and template that answers were asked with lie beside the adapter; else the base's serve."""
    own = (adapter / "tokenizer_config.json").is_file()
    for name in _TOKENIZER_FILES:
        if (source := (adapter if own else base) / name).is_file():
            shutil.copyfile(source, into / name)
    if (template := into / "chat_template.jinja").is_file():
        template.write_text(plain_template(template.read_text(encoding="utf-8")), encoding="utf-8")
    for name in _FROM_BASE:
        for folder in (base, adapter):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, into / name)


def _copy_code(base: Path, into: Path) -> None:
    """The merged model needs its author's code as the base does."""
    for source in base.glob("*.py"):
        shutil.copyfile(source, into / source.name)


def _name_no_code(folder: Path) -> None:
    """Code that did not run must not be named to who reads the folder next: llama.cpp's converter trusts it."""
    for name in ("config.json", "tokenizer_config.json"):
        settings = read_json(folder / name)
        if settings.pop("auto_map", None) is not None:
            (folder / name).write_text(json.dumps(settings, indent=2, ensure_ascii=False), encoding="utf-8")


_GENERATION = re.compile(r"\{%(-?)\s*(end)?generation\s*(-?)%\}")


def plain_template(template: str) -> str:
    """`template` without transformers' own `{% generation %}` marks, which llama.cpp and vLLM do not know.

    They write nothing; an `if` that is always true keeps the same whitespace.
    """
    return _GENERATION.sub(lambda m: f"{{%{m[1]} {'endif' if m[2] else 'if true'} {m[3]}%}}", template)


def _proof(
    before: list[torch.Tensor], after: list[torch.Tensor], stored: torch.dtype, computed: torch.dtype, seconds: float
) -> dict[str, Any]:
    drift = reference.drift(torch.cat(before), torch.cat(after))
    largest = max((a - b).abs().max().item() for a, b in zip(before, after, strict=True))
    verdict = "same" if drift.mean_kl < 1e-3 else "close" if drift.mean_kl < 0.05 else "differs"
    return asdict(drift) | {
        "against": "base model with adapter",
        "dtype": str(stored).removeprefix("torch."),
        "computed_in": str(computed).removeprefix("torch."),
        "max_logprob_diff": largest,
        "verdict": verdict,
        "sentence": f"First tokens of {len(before)} answers, merged against adapter: "
        f"mean divergence {drift.mean_kl:.1e} nats, the same first choice in {drift.same_choice:.0%}.",
        "seconds": round(seconds, 1),
    }
