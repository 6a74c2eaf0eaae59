"""Tokenizers with the shapes of chat template that are met in the field, each made on the spot."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tests.tiny_model import CHATML, build_tiny_tokenizer
from worker.trainer.chat import Chat, chat_of
from worker.trainer.tokens import IGNORED, Encoded

TEMPLATES = Path(__file__).parent / "templates"
#: Special tokens: the pad first, the end of turn last.
SPECIAL = {
    "marks": ("<|pad|>", "<|im_start|>", "<|im_end|>"),
    "chatml": ("<|pad|>", "<|im_start|>", "<|im_end|>"),
    "llama3": (
        "<|pad|>",
        "<|begin_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|end_of_text|>",
        "<|eot_id|>",
    ),
    "gemma": ("<pad>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
    "mistral": ("<unk>", "<s>", "</s>"),
    "qwen3": ("<|pad|>", "<|im_start|>", "<|im_end|>"),
    "r1": ("<|pad|>", "<|begin|>", "<|User|>", "<|Assistant|>", "<|end_of_sentence|>"),
}


@cache
def chat(name: str) -> Chat:
    """The probed chat of one template."""
    tokenizer = build_tiny_tokenizer(SPECIAL[name])
    tokenizer.bos_token = SPECIAL[name][1]
    tokenizer.chat_template = (
        CHATML if name == "marks" else (TEMPLATES / f"{name}.jinja").read_text("utf-8").rstrip("\n")
    )
    return chat_of(tokenizer)


def learned(encoded: Encoded, of: Chat) -> list[str]:
    """What the model learns to write, one text for each unbroken stretch of labels."""
    runs: list[list[int]] = []
    before = IGNORED
    for label in encoded.labels:
        if label != IGNORED:
            runs = [*runs, []] if before == IGNORED else runs
            runs[-1].append(label)
        before = label
    return [of.tokenizer.decode(run) for run in runs]
