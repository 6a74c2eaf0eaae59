"""The shape of a model: what its `config.json` says of its size, and what follows for the number of its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Shape:
    """A decoder of equal blocks: attention with `kv_heads` shared key and value heads, and a gated MLP."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    tied: bool = True
    #: The stored weights of the blocks are in 4 bits already.
    four_bit: bool = False
    #: Bytes of such weights where some blocks were left in 16 bits, as far as that is known.
    stored_bytes: int = 0

    @property
    def block_weights(self) -> int:
        """Numbers in the projections of all blocks, which 4-bit loading shrinks and LoRA adapts."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        return self.layers * self.hidden * (2 * queries + 2 * keys + 3 * self.intermediate)

    @property
    def vocabulary_weights(self) -> int:
        """Numbers in the embedding, and in the head where it is not the same."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All of them, but for the few thousands of norms."""
        return self.block_weights + self.vocabulary_weights

    def lora_weights(self, rank: int, modules: tuple[str, ...]) -> int:
        """Numbers in an adapter of `rank` on `modules`; a name that is none of the seven counts nothing."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        widths = {
            "q_proj": self.hidden + queries,
            "k_proj": self.hidden + keys,
            "v_proj": self.hidden + keys,
            "o_proj": queries + self.hidden,
            "gate_proj": self.hidden + self.intermediate,
            "up_proj": self.hidden + self.intermediate,
            "down_proj": self.intermediate + self.hidden,
        }
        return self.layers * rank * sum(widths.get(name, 0) for name in modules)


def read_shape(config: Mapping[str, Any]) -> Shape | None:
    """From the fields of a `config.json`; None for a model that is not a plain decoder (experts, or no such fields)."""
    text = config.get("text_config") or config
    if any(text.get(name) for name in ("num_experts", "num_local_experts", "n_routed_experts", "kv_lora_rank")):
        return None
    try:
        heads, hidden = int(text["num_attention_heads"]), int(text["hidden_size"])
        return Shape(
            hidden=hidden,
            layers=int(text["num_hidden_layers"]),
            intermediate=int(text["intermediate_size"]),
            heads=heads,
            kv_heads=int(text.get("num_key_value_heads") or heads),
            head_size=int(text.get("head_dim") or hidden // heads),
            vocabulary=int(text["vocab_size"]),
            tied=bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", True))),
            four_bit=bool((config.get("quantization_config") or {}).get("load_in_4bit")),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


@lru_cache(maxsize=64)
def _read(file: Path, _changed: int) -> Shape | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return read_shape(found) if isinstance(found, dict) else None


def shape_in(folder: Path) -> Shape | None:
    """The shape of the model in `folder`, None when that can't be said."""
    file = folder / "config.json"
    try:
        return _read(file, file.stat().st_mtime_ns)
    except OSError:
        return None


def _shape(hidden: int, layers: int, intermediate: int, heads: str, vocabulary: int, *, tied: bool = True) -> Shape:
    """`heads`: query heads / key-value heads × head size."""
    queries, _, rest = heads.partition("/")
    keys, _, size = rest.partition("×")
    return Shape(hidden, layers, intermediate, int(queries), int(keys), int(size), vocabulary, tied)


_R1_QWEN_1_5B = _shape(1536, 28, 8960, "12/2×128", 151_936, tied=False)
_R1_QWEN_7B = _shape(3584, 28, 18944, "28/4×128", 152_064, tied=False)
_LLAMA_3_1_8B = _shape(4096, 32, 14336, "32/8×128", 128_256, tied=False)
_LLAMA_3_2_3B = _shape(3072, 28, 8192, "24/8×128", 128_256)

#: Of the catalogue's models, as their `config.json` has it, for the time before they are on this machine.
KNOWN: dict[str, Shape] = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": _shape(576, 30, 1536, "9/3×64", 49_152),
    "HuggingFaceTB/SmolLM2-360M-Instruct": _shape(960, 32, 2560, "15/5×64", 49_152),
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": _shape(2048, 24, 8192, "32/32×64", 49_152),
    "Qwen/Qwen3-0.6B": _shape(1024, 28, 3072, "16/8×128", 151_936),
    "Qwen/Qwen3-1.7B": _shape(2048, 28, 6144, "16/8×128", 151_936),
    "Qwen/Qwen3-4B": _shape(2560, 36, 9728, "32/8×128", 151_936),
    "Qwen/Qwen3-8B": _shape(4096, 36, 12288, "32/8×128", 151_936, tied=False),
    "meta-llama/Llama-3.2-1B-Instruct": _shape(2048, 16, 8192, "32/8×64", 128_256),
    "meta-llama/Llama-3.2-3B-Instruct": _LLAMA_3_2_3B,
    "unsloth/Llama-3.2-3B-Instruct-bnb-4bit": _LLAMA_3_2_3B,
    "google/gemma-3-270m-it": _shape(640, 18, 2048, "4/1×256", 262_144),
    "google/gemma-3-1b-it": _shape(1152, 26, 6912, "4/1×256", 262_144),
    "microsoft/Phi-4-mini-instruct": _shape(3072, 32, 8192, "24/8×128", 200_064),
    "microsoft/phi-4": _shape(5120, 40, 17920, "40/10×128", 100_352, tied=False),
    "mistralai/Mistral-7B-Instruct-v0.3": _shape(4096, 32, 14336, "32/8×128", 32_768, tied=False),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": _R1_QWEN_1_5B,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": _R1_QWEN_7B,
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": _LLAMA_3_1_8B,
    "unsloth/DeepSeek-R1-Distill-Qwen-1.5B-unsloth-bnb-4bit": _R1_QWEN_1_5B,
    "unsloth/DeepSeek-R1-Distill-Qwen-7B-unsloth-bnb-4bit": _R1_QWEN_7B,
    "unsloth/DeepSeek-R1-Distill-Llama-8B-unsloth-bnb-4bit": _LLAMA_3_1_8B,
}
