"""Whether a model's folder may be loaded: where it lies, and what in it would lead somewhere else. Reads no weights.

Asked at the launch and again by the child that loads it, for a folder may change in between.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

#: How transformers and llama.cpp name a file of weights.
_WEIGHTS = re.compile(r"[\w][\w.-]*\.safetensors", re.ASCII)
_INDEX = "model.safetensors.index.json"
#: Settings that can name a repository of compiled code: its name has a slash in it.
_KERNELS = ("attn_implementation", "attn_implementation_internal", "experts_implementation")


def inside(path: Path, roots: Iterable[Path]) -> bool:
    """Whether `path`, followed to where it really leads, lies below one of `roots`."""
    real = path.resolve()
    return any(real.is_relative_to(root.expanduser().resolve()) for root in roots)


def refusal(folder: Path, roots: Sequence[Path] | None) -> str:
    """Why the model in `folder` is not loaded, or an empty string. `roots` None: it may lie anywhere."""
    if roots is not None and not inside(folder, roots):
        return "That folder is not below an allowed root. Add one with TUNEDECK_MODELS__LOCAL_ROOTS, as a JSON list."
    if (folder / "adapter_config.json").exists():
        return (
            f"The folder {folder} holds an adapter (adapter_config.json), which names a base model of its own. "
            "Name a folder with a whole model, such as a merged one."
        )
    return _strays(folder, roots) or _index_leads_out(folder) or _names_a_kernel(folder)


def _strays(folder: Path, roots: Sequence[Path] | None) -> str:
    """A link out of the allowed roots, or something that is no file."""
    for path in _entries(folder):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            if roots is not None and not inside(path, [folder, *roots]):
                return f"{path.name} in {folder} is a link to a place outside the allowed roots. Copy the file instead."
            if path.is_dir():
                return f"{path.name} in {folder} is a link to a folder. Name a folder that holds its files itself."
            mode = path.stat().st_mode if path.exists() else 0
        if not stat.S_ISREG(mode):
            return f"{path.name} in {folder} is no file. Remove it, or name another folder."
    return ""


def _entries(folder: Path) -> Iterator[Path]:
    """All that is not a folder, at any depth; links are not followed."""
    for top, folders, files in os.walk(folder):
        yield from (Path(top, name) for name in folders if Path(top, name).is_symlink())
        yield from (Path(top, name) for name in files)


def _index_leads_out(folder: Path) -> str:
    """The index names the files of weights: they must be safetensors, and lie beside it."""
    named = read_json(folder / _INDEX).get("weight_map", {})
    files = set(named.values()) if isinstance(named, dict) else {""}
    if all(isinstance(name, str) and _WEIGHTS.fullmatch(name) for name in files):
        return ""
    return f"{_INDEX} in {folder} names files that are not safetensors beside it. Such a model is not loaded."


def _names_a_kernel(folder: Path) -> str:
    """transformers would fetch and run what these name."""
    found = _values_of(read_json(folder / "config.json"), _KERNELS)
    if any(isinstance(value, str) and "/" in value for value in found):
        return f"config.json in {folder} asks for compiled code from the Hub (attn_implementation). Take that line out."
    return ""


def _values_of(node: Any, keys: Sequence[str]) -> Iterator[Any]:
    if isinstance(node, dict):
        for key, value in node.items():
            if str(key).lstrip("_") in keys:
                yield from value.values() if isinstance(value, dict) else [value]
            yield from _values_of(value, keys)
    elif isinstance(node, list):
        for value in node:
            yield from _values_of(value, keys)


def read_json(file: Path) -> dict[str, Any]:
    """The object in a file of settings; empty when there is none that can be read: the libraries will say so."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
