"""Everything Ollama wants beside a GGUF, derived from the GGUF itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.export.modelfile import go_template, modelfile, parts_of, stop_words
from worker.trainer.gguf_head import read_head

#: Ending of the Modelfile's name in a repository, where one stands for each GGUF.
MODELFILE = ".Modelfile"


@dataclass(frozen=True)
class OllamaFiles:
    """Texts ready to be written. `legacy` and `template` are None when no Go template can be derived."""

    modelfile: str
    legacy: str | None
    template: str | None
    params: str


def ollama_files(gguf: Path) -> OllamaFiles:
    """Read `gguf`'s chat template and special tokens."""
    head = read_head(gguf)
    source = head.get("tokenizer.chat_template", "")
    bos, eos = _token(head, "bos"), _token(head, "eos")
    adds_bos = head.get("tokenizer.ggml.add_bos_token", True)
    parts = parts_of(source, bos if adds_bos else "", eos) if source else None
    stops = stop_words(parts, eos)
    template = go_template(parts) if parts else None
    return OllamaFiles(
        modelfile=modelfile(gguf.name, stops),
        legacy=modelfile(gguf.name, stops, template) if template else None,
        template=template,
        params=json.dumps({"stop": stops}, ensure_ascii=False, indent=2) + "\n",
    )


def _token(head: dict[str, Any], name: str) -> str:
    """The text of a special token, or an empty string."""
    number = head.get(f"tokenizer.ggml.{name}_token_id")
    tokens = head.get("tokenizer.ggml.tokens")
    return "" if number is None or not tokens else str(tokens[number])
