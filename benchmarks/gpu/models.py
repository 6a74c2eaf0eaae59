"""Models to measure with: SmolLM2 as it is, and Llama shapes with random weights where nothing can be fetched.

`python -m benchmarks.gpu.models NAME FOLDER TOKENIZER_FOLDER`
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

#: As in the configuration files of Llama 3.2 1B and Llama 3.1 8B.
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "tie_word_embeddings": True},
    "1b": {"hidden_size": 2048, "num_hidden_layers": 16, "intermediate_size": 8192, "tie_word_embeddings": True},
    "8b": {"hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 14336, "tie_word_embeddings": False},
}
VOCABULARY = 128_256


def make(name: str, folder: Path, tokenizer: Path) -> Path:
    """Write the model of shape `name` with random bfloat16 weights and SmolLM2's tokenizer into `folder`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8} if name != "tiny" else {"num_attention_heads": 4}
    config = LlamaConfig(
        vocab_size=VOCABULARY if name != "tiny" else 49_152,
        max_position_embeddings=131_072,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        dtype="bfloat16",
        **heads,
        **SHAPES[name],
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM(config)
    model.save_pretrained(part, max_shard_size="4GB")
    for file in tokenizer.iterdir():
        if "token" in file.name or file.suffix == ".jinja" or file.name in {"vocab.json", "merges.txt"}:
            shutil.copy(file, part / file.name)
    part.rename(folder)
    return folder


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
