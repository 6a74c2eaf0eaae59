"""The tokenizer of the small model that comes with the installation, rebuilt from what its GGUF holds.

transformers 5.17 reads this file's tokenizer as one with byte fallback that ends a text at `<|im_start|>`. It tokenises
nearly alike, but llama.cpp's converter takes it for a SentencePiece one and writes a GGUF that can't answer. So it is
put together here as its makers published it: digits one by one, then GPT-2's byte-level BPE.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from worker.trainer.gguf_head import read_head

_CONTROL = 3
_END, _START, _FILL = "<|im_end|>", "<|im_start|>", "<|endoftext|>"


def tokenizer_of(source: Path) -> Any:
    """A fast tokenizer with the vocabulary, merges and chat template in the GGUF `source`; it has a pad token."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    head = read_head(source)
    tokens: list[str] = head["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in head["tokenizer.ggml.merges"]]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = head["tokenizer.ggml.token_type"]
    control = [token for token, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in control])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=_START,
        eos_token=_END,
        pad_token=_FILL,
        unk_token=_FILL,
        model_max_length=head["llama.context_length"],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = head["tokenizer.chat_template"]
    return fast
