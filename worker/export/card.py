"""The plain model card that goes with a push: what this is, how it was made, how to run it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from huggingface_hub import ModelCard, ModelCardData

from worker.trainer.specs import PushSpec

#: Keys of `PushSpec.card` with a place of their own; `score_…` goes under Scores, all others under Settings.
NAME, BASE, DATASET, LICENCE, QUESTIONS = "name", "base_model", "dataset", "licence", "questions"
_PLACED = frozenset({NAME, BASE, DATASET, LICENCE, QUESTIONS})
_SCORE = "score_"
_TAGS = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_SIGNS = re.compile(r"([\\`*_\[\]#|~!])|([<>&])")


def model_card(spec: PushSpec, repo_id: str, gguf_names: Sequence[str]) -> str:
    """The text of README.md, front matter included."""
    card = spec.card
    kinds: set[str] = {file.artifact for file in spec.files}
    data = ModelCardData(
        base_model=str(card[BASE]) if _is_hub_id(card.get(BASE)) else None,
        license=str(card[LICENCE]).lower() if card.get(LICENCE) else None,
        library_name="transformers" if "merged" in kinds else "peft" if "adapter" in kinds else None,
        pipeline_tag="text-generation",
        tags=["lora", "sft", "tunedeck", *(["gguf"] if gguf_names else [])],
    )
    text = "\n\n".join(part for part in _parts(spec, repo_id, kinds, gguf_names) if part)
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n"))


def _is_hub_id(name: object) -> bool:
    """A folder of the worker's disk is nobody else's business."""
    return isinstance(name, str) and bool(name) and not name.startswith(("/", ".", "~"))


def _parts(spec: PushSpec, repo_id: str, kinds: set[str], gguf_names: Sequence[str]) -> list[str]:
    card = spec.card
    base = f"`{_line(card[BASE]).replace('`', '')}`" if _is_hub_id(card.get(BASE)) else "a local model"
    data = f" on the data set “{_cell(card[DATASET])}”" if card.get(DATASET) else ""
    scores = {k.removeprefix(_SCORE): v for k, v in card.items() if k.startswith(_SCORE)}
    settings = {k: v for k, v in card.items() if k not in _PLACED and not k.startswith(_SCORE)}
    return [
        f"# {_cell(card.get(NAME) or repo_id.rsplit('/', maxsplit=1)[-1])}",
        f"Fine-tuned from {base}{data} with LoRA, using Tunedeck.",
        _usage(repo_id, kinds, gguf_names),
        _table("Scores", scores),
        _table("Settings", settings),
        _questions(card.get(QUESTIONS)),
    ]


def _usage(repo_id: str, kinds: set[str], gguf_names: Sequence[str]) -> str:
    lines = ["## How to run it"]
    if "merged" in kinds:
        lines.append(_python("transformers", "AutoModelForCausalLM", repo_id, ""))
    if "adapter" in kinds:
        subfolder = ', subfolder="adapter"' if "merged" in kinds else ""
        lines.append(_python("peft", "AutoPeftModelForCausalLM", repo_id, subfolder))
    lines += [f"With Ollama:\n\n```sh\nollama run hf.co/{repo_id}:{_kind(name)}\n```" for name in gguf_names]
    return "\n\n".join(lines)


def _python(library: str, auto_class: str, repo_id: str, subfolder: str) -> str:
    return (
        f"With {library}:\n\n```python\nfrom {library} import {auto_class}\nfrom transformers import AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{repo_id}"{subfolder})\n'
        f'model = {auto_class}.from_pretrained("{repo_id}"{subfolder})\n```'
    )


def _kind(gguf_name: str) -> str:
    """`model-Q4_K_M.gguf` -> `Q4_K_M`."""
    return gguf_name.removesuffix(".gguf").rpartition("-")[2]


def _questions(asked: object) -> str:
    if not isinstance(asked, list) or not asked:
        return ""
    return "## Questions it was asked before and after training\n\n" + "\n".join(f"- {_cell(one)}" for one in asked)


def _table(title: str, values: dict[str, str | int | float | list[str]]) -> str:
    if not values:
        return ""
    rows = "\n".join(f"| {_cell(name.replace('_', ' '))} | {_cell(value)} |" for name, value in values.items())
    return f"## {title}\n\n| | |\n|---|---|\n{rows}"


def _cell(value: str | float | list[str]) -> str:
    """As text: what people typed makes no headings, links, images, rows or tags on the Hub's page."""
    return _SIGNS.sub(lambda found: f"\\{found[1]}" if found[1] else _TAGS[found[2]], _line(value))


def _line(value: str | float | list[str]) -> str:
    text = ", ".join(value) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)
    return " ".join(text.split())
