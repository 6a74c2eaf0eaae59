"""Which type each tensor of a dense model gets: llama.cpp's own choice (`llama-quant.cpp`, no imatrix).

Pure. Held against a real libllama tensor by tensor in the tests; architectures it was not held against are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: Name -> (LLAMA_FTYPE number, what most tensors become).
KINDS = {
    "q8_0": (7, "Q8_0"),
    "q4_k_s": (14, "Q4_K"),
    "q4_k_m": (15, "Q4_K"),
    "q5_k_m": (17, "Q5_K"),
    "q6_k": (18, "Q6_K"),
}
#: Architectures (GGUF names) whose result was equal to libllama's, byte for byte.
PROVEN = frozenset({"llama", "qwen2", "qwen3", "gemma3"})

#: Exit code of the portable quantiser for a model that is refused; the reason is the last line it prints.
REFUSED = 3

_BLOCK = {"Q8_0": 32, "Q5_0": 32, "Q5_1": 32, "Q4_K": 256, "Q5_K": 256, "Q6_K": 256}
#: For rows that are no multiple of 256.
_FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
_LAYER = re.compile(r"^blk\.(\d+)\.")
_LAYERS_OF_70B = 80


@dataclass(frozen=True)
class Shape:
    """What the choice depends on besides the tensor itself."""

    arch: str
    layers: int
    tied: bool  #: the output shares the token embedding
    grouped: bool  #: fewer key/value heads than heads
    experts: int = 0

    @property
    def is_70b(self) -> bool:
        """llama.cpp spends more bits on `attn_v` in models of this shape."""
        return self.layers == _LAYERS_OF_70B and (self.arch == "qwen2" or (self.arch == "llama" and self.grouped))


def refusal(shape: Shape, names: Iterable[str]) -> str:
    """Why this model can't be quantised here, or an empty string."""
    if shape.experts:
        return f"it is a mixture of {shape.experts} experts"
    if any("attn_kv_b" in name or "attn_k_b" in name for name in names):
        return "it uses multi-head latent attention"
    if shape.arch not in PROVEN:
        return f"its architecture, {shape.arch}, has not been compared with llama.cpp's own result"
    return ""


def type_of(name: str, dims: tuple[int, ...], kind: str, shape: Shape) -> str | None:
    """The GGML type of tensor `name` with `dims` (row length first), or None to keep it as it is."""
    if len(dims) < 2 or not name.endswith("weight") or "_norm.weight" in name:
        return None
    return _fitting(_wanted(name, dims[0], kind, shape), dims[0])


def _wanted(name: str, row: int, kind: str, shape: Shape) -> str:
    most = KINDS[kind][1]
    if name == "output.weight" or (shape.tied and name == "token_embd.weight"):
        return most if most == "Q8_0" else "Q8_0" if row % _BLOCK[most] else "Q6_K"
    found = _LAYER.match(name)
    layer = int(found[1]) if found else 0
    if "attn_v.weight" in name:
        chosen = _attn_v(kind, most, layer, shape.layers)
        return "Q5_K" if shape.is_70b and chosen == "Q4_K" else chosen
    if "ffn_down" in name:
        return _ffn_down(kind, most, layer, shape.layers)
    if "attn_qkv.weight" in name:
        return {"q4_k_m": "Q5_K", "q5_k_m": "Q6_K"}.get(kind, most)
    return most


def _attn_v(kind: str, most: str, layer: int, layers: int) -> str:
    if kind in {"q4_k_m", "q5_k_m"} and _more_bits(layer, layers):
        return "Q6_K"
    return "Q5_K" if kind == "q4_k_s" and layer < 4 else most


def _ffn_down(kind: str, most: str, layer: int, layers: int) -> str:
    if kind in {"q4_k_m", "q5_k_m"} and _more_bits(layer, layers):
        return "Q6_K"
    return "Q5_K" if kind == "q4_k_s" and layer < layers // 8 else most


def _more_bits(layer: int, layers: int) -> bool:
    """The first and last eighth, and every third layer between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _fitting(wanted: str, row: int) -> str:
    if row % _BLOCK[wanted] == 0:
        return wanted
    smaller = _FALLBACK.get(wanted, wanted)
    return smaller if row % _BLOCK[smaller] == 0 else "F16"
