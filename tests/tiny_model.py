"""A real, tiny model made on the spot: a tokenizer trained on a few sentences, random weights, a chat template."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_WORDS = ("red", "green", "blue", "cat", "dog", "bird", "one", "two", "three", "paris", "rome", "oslo")


def tiny_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Canonical rows: the user names two words, the assistant repeats them."""
    rng = random.Random(seed)
    pairs = [(rng.choice(_WORDS), rng.choice(_WORDS)) for _ in range(count)]
    return [
        {
            "messages": [
                {"role": "system", "content": "You repeat words."},
                {"role": "user", "content": f"Say {a} then {b}."},
                {"role": "assistant", "content": f"{a} {b}"},
            ]
        }
        for a, b in pairs
    ]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """One JSON object per line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def build_tiny_tokenizer(special: tuple[str, ...] = ("<|pad|>", "<|im_start|>", "<|im_end|>")) -> Any:
    """A byte-level BPE tokenizer, at most 512 tokens; of `special` the first is the pad, the last ends a turn."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (message["content"] for row in tiny_rows(200) for message in row["messages"])
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token=special[0], eos_token=special[-1])
    tokenizer.chat_template = CHATML
    return tokenizer


def build_tiny_model(out: Path, kind: str = "llama") -> Path:
    """Write a model folder of about 0.4 MB to `out`; `kind` is "llama" or "qwen2"."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    tokenizer = build_tiny_tokenizer()
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
        "tie_word_embeddings": True,
    }
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**shape)) if kind == "qwen2" else LlamaForCausalLM(LlamaConfig(**shape))
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


_OWN_CONFIG = """
from transformers import LlamaConfig


class OwnConfig(LlamaConfig):
    model_type = "tiny-own"
"""
_OWN_MODEL = """
import os
import socket
from pathlib import Path

from transformers import LlamaForCausalLM

from .configuration_own import OwnConfig


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        try:
            socket.create_connection(("127.0.0.1", {port}), 5).close()
            found = "connected"
        except OSError as exc:
            found = type(exc).__name__
        Path({marker!r}).write_text(found)
"""


def build_own_model(out: Path, base: Path, marker: Path, port: int = 9) -> Path:
    """`base` as an architecture of its author's, whose code calls `port` and writes to `marker` how that went."""
    shutil.copytree(base, out)
    config = json.loads((out / "config.json").read_text())
    config |= {
        "model_type": "tiny-own",
        "architectures": ["OwnForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_own.OwnConfig",
            "AutoModelForCausalLM": "modeling_own.OwnForCausalLM",
        },
    }
    (out / "config.json").write_text(json.dumps(config))
    (out / "configuration_own.py").write_text(_OWN_CONFIG)
    (out / "modeling_own.py").write_text(_OWN_MODEL.format(port=port, marker=str(marker)))
    return out
