"""Code that a model's author wrote and the model needs to run: never executed unless an administrator allowed it.

An allowance is for one model at one commit (`ModelSpec.code_at`). Nothing else makes `trust_remote_code` true; said to
be false, it keeps transformers from asking a person at a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.domain.models.folders import read_json
from app.domain.models.names import is_commit, is_hub_id
from worker.child import JobError
from worker.trainer.specs import ModelSpec

NEEDED = "needs code of its author to run, and such code is not executed here unless it was allowed."
ADVICE = (
    "Choose a model whose architecture is part of the transformers library. Or an administrator reads that code and "
    "allows it on the Settings page for this model at one commit, and the job names that commit as its revision."
)
#: Files that may name classes of the author's.
_NAMING = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")


def is_allowed(model: ModelSpec) -> bool:
    """Whether this very model, at the very commit that the job names, may bring its code."""
    return is_hub_id(model.base_model) and is_commit(model.revision) and model.code_at == model.revision


def check(folder: Path, model: ModelSpec) -> None:
    """Raises `JobError` when the model in `folder` needs code that it may not bring, or takes it from elsewhere."""
    if not is_allowed(model):
        if _needs_code(read_json(folder / "config.json")):
            raise JobError("not_supported", f"{model.base_model} {NEEDED}", ADVICE)
        return
    for name in _NAMING:
        for found in _named(read_json(folder / name).get("auto_map")):
            if "--" in found:  # `owner/name--module.Class`: whatever is newest there
                raise JobError(
                    "not_supported",
                    f"{model.base_model} takes its code from another repository ({found.partition('--')[0]}).",
                    "Only code that lies in the model's own repository, at the commit that was allowed, is executed.",
                )


def _needs_code(config: dict[str, Any]) -> bool:
    """As transformers decides it: the author names classes for an architecture that the library does not have."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    named = config.get("auto_map")
    if not isinstance(named, dict):
        return False
    known = {"AutoConfig": CONFIG_MAPPING_NAMES, "AutoModelForCausalLM": MODEL_FOR_CAUSAL_LM_MAPPING_NAMES}
    return any(kind in named and config.get("model_type") not in names for kind, names in known.items())


def _named(node: Any) -> Iterator[str]:
    """Every class that an `auto_map` names; for a tokenizer it holds lists."""
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _named(each)
    elif isinstance(node, str):
        yield node
