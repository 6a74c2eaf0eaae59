"""The portable quantiser writes what a real libllama writes: every tensor, type and byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

from worker.child import Child, JobError
from worker.export import quantise_portable
from worker.export.quantise import quantise
from worker.export.quantise_policy import KINDS, PROVEN, Shape, refusal, type_of

VOCABULARY = 96
#: llama.cpp treats models of so many layers as the 70 B ones.
SEVENTY_B_LAYERS = 80


def write_model(path: Path, arch: str, layers: int, row: int, inner: int, *, tied: bool, **more: int) -> Path:
    """A model of `arch` with random weights and no tokenizer: quantising looks at neither words nor sense."""
    rng = np.random.default_rng(layers + row)
    writer = GGUFWriter(path, arch)
    writer.add_block_count(layers)
    writer.add_context_length(64)
    writer.add_embedding_length(row)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(1)
    for key, value in more.items():
        writer.add_uint32(f"{arch}.{key}", value)

    def add(name: str, *shape: int) -> None:
        kind = np.float32 if len(shape) == 1 else np.float16
        writer.add_tensor(name, rng.standard_normal(shape).astype(kind))

    add("token_embd.weight", VOCABULARY, row)
    add("output_norm.weight", row)
    if not tied:
        add("output.weight", VOCABULARY, row)
    for layer in range(layers):
        for name, shape in _layer(arch, row, inner).items():
            add(f"blk.{layer}.{name}.weight", *shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _layer(arch: str, row: int, inner: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"attn_norm": (row,), "ffn_norm": (row,)}
    shapes |= {"attn_q": (row, row), "attn_k": (row // 2, row), "attn_v": (row // 2, row), "attn_output": (row, row)}
    shapes |= {"ffn_gate": (inner, row), "ffn_up": (inner, row), "ffn_down": (row, inner)}
    if arch in {"qwen3", "gemma3"}:
        shapes |= {"attn_q_norm": (row // 4,), "attn_k_norm": (row // 4,)}
    if arch == "gemma3":
        shapes |= {"post_attention_norm": (row,), "post_ffw_norm": (row,)}
    return shapes


def tensors(path: Path) -> dict[str, tuple[Any, bytes]]:
    """Type and bytes of every tensor."""
    return {t.name: (t.tensor_type.name, t.data.tobytes()) for t in GGUFReader(path).tensors}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(
    "form",
    [(10, 256, 512, True), (9, 256, 256, False), (5, 64, 96, True), (3, 72, 40, False)],
    ids=["tied", "untied", "rows-of-64", "rows-of-72"],
)
def test_equal_to_libllama(
    child: Child, libllama: Path, tmp_path: Path, form: tuple[int, int, int, bool], kind: str
) -> None:
    layers, row, inner, tied = form
    source = write_model(tmp_path / "in.gguf", "llama", layers, row, inner, tied=tied)
    quantise(child, source, tmp_path / "theirs.gguf", kind, str(libllama), 1)
    quantise_portable.quantise(source, tmp_path / "ours.gguf", kind)
    assert tensors(tmp_path / "ours.gguf") == tensors(tmp_path / "theirs.gguf")


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "layers"), [("qwen2", 4), ("qwen3", 4), ("gemma3", 26), ("llama", 80), ("qwen2", 80)])
def test_equal_to_libllama_for_other_architectures(
    child: Child, libllama: Path, tmp_path: Path, arch: str, layers: int
) -> None:
    more = {"attention.sliding_window": 32} if arch == "gemma3" else {}
    source = write_model(tmp_path / "in.gguf", arch, layers, 256, 256, tied=True, **more)
    for kind in ("q4_k_s",) if layers == SEVENTY_B_LAYERS else ("q4_k_m", "q4_k_s"):
        quantise(child, source, tmp_path / "theirs.gguf", kind, str(libllama), 1)
        quantise_portable.quantise(source, tmp_path / "ours.gguf", kind)
        assert tensors(tmp_path / "ours.gguf") == tensors(tmp_path / "theirs.gguf")


def test_a_mixture_of_experts_is_refused_with_a_sentence(child: Child, tmp_path: Path) -> None:
    source = write_model(tmp_path / "in.gguf", "llama", 1, 64, 64, tied=True, expert_count=8)
    with pytest.raises(JobError, match="mixture of 8 experts") as caught:
        quantise(child, source, tmp_path / "out.gguf", "q4_k_m", "", 1)
    assert caught.value.error_class == "not_supported"
    assert "q8_0" in caught.value.advice


def test_a_broken_file_is_a_sentence_and_not_a_crash(child: Child, libllama: Path, tmp_path: Path) -> None:
    (tmp_path / "in.gguf").write_bytes(b"GGUF" + bytes(100))
    for folder in ("", str(libllama)):
        with pytest.raises(JobError, match="failed"):
            quantise(child, tmp_path / "in.gguf", tmp_path / "out.gguf", "q4_k_m", folder, 1)


@pytest.mark.parametrize(
    ("name", "dims", "kind", "wanted"),
    [
        ("blk.0.attn_norm.weight", (256,), "q4_k_m", None),
        ("blk.0.attn_q.bias", (256,), "q4_k_m", None),
        ("blk.0.attn_q.weight", (256, 256), "q4_k_m", "Q4_K"),
        ("blk.0.attn_q.weight", (576, 576), "q4_k_m", "Q5_0"),
        ("blk.0.attn_v.weight", (256, 128), "q4_k_m", "Q6_K"),
        ("blk.0.attn_v.weight", (576, 128), "q4_k_m", "Q8_0"),
        ("blk.3.ffn_down.weight", (512, 256), "q4_k_m", "Q4_K"),
        ("blk.0.attn_v.weight", (256, 128), "q4_k_s", "Q5_K"),
        ("token_embd.weight", (256, 96), "q4_k_m", "Q6_K"),
        ("token_embd.weight", (100, 96), "q4_k_m", "F16"),
        ("blk.0.ffn_up.weight", (256, 96), "q8_0", "Q8_0"),
    ],
)
def test_policy(name: str, dims: tuple[int, ...], kind: str, wanted: str | None) -> None:
    assert type_of(name, dims, kind, Shape(arch="llama", layers=16, tied=True, grouped=True)) == wanted


def test_only_proven_architectures_pass() -> None:
    plain = Shape(arch="llama", layers=2, tied=True, grouped=False)
    for arch in PROVEN:
        assert not refusal(replace(plain, arch=arch), ["blk.0.attn_v.weight"])
    assert "falcon" in refusal(replace(plain, arch="falcon"), [])
    assert "latent" in refusal(plain, ["blk.0.attn_kv_b.weight"])
