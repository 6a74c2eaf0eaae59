"""What in a model's folder would lead elsewhere, or bring something to run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from app.domain.models.folders import inside, refusal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model below an allowed root."""
    model = tmp_path / "roots" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"x")
    return model


def refused(folder: Path) -> str:
    return refusal(folder, [folder.parent])


def test_a_plain_folder_passes(folder: Path) -> None:
    assert refused(folder) == ""
    assert refusal(folder, None) == ""


def test_a_folder_elsewhere_does_not_even_by_a_link(folder: Path, tmp_path: Path) -> None:
    assert "allowed root" in refusal(folder, [tmp_path / "other"])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "link").symlink_to(folder)
    assert "allowed root" in refusal(tmp_path / "other" / "link", [tmp_path / "other"])
    assert not inside(tmp_path / "roots-not" / "x", [tmp_path / "roots"])


def test_a_link_out_of_the_roots_is_refused_and_one_within_is_not(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    (folder.parent / "blob").write_text("{}")
    (folder / "tokenizer.json").symlink_to("../blob")  # as the Hub's own cache does it
    assert refused(folder) == ""
    (folder / "vocab.json").symlink_to(tmp_path / "secret.json")
    assert "vocab.json" in refused(folder)
    assert refusal(folder, None) == ""  # by hand a person may


def test_a_link_deeper_down_and_a_linked_folder_are_found(folder: Path, tmp_path: Path) -> None:
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "x.jinja").symlink_to(tmp_path / "secret")
    assert "x.jinja" in refused(folder)
    (folder / "additional_chat_templates" / "x.jinja").unlink()
    (folder.parent / "near").mkdir()
    (folder / "more").symlink_to(folder.parent / "near")
    assert "link to a folder" in refused(folder)


def test_what_is_no_file_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "tokenizer.json")
    assert "is no file" in refused(folder)


def test_an_adapter_would_name_another_base(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/etc/other"}')
    assert "adapter" in refused(folder)


@pytest.mark.parametrize(
    "weights", [{"a": "../other/model.safetensors"}, {"a": "/x.safetensors"}, {"a": "pytorch_model.bin"}, {"a": 1}, []]
)
def test_an_index_names_safetensors_beside_it(folder: Path, weights: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    assert "names files" in refused(folder)
    good = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(good))
    assert refused(folder) == ""


@pytest.mark.parametrize(
    "config",
    [
        {"attn_implementation": "evil/kernel"},
        {"_attn_implementation": {"text": "evil/kernel:x"}},
        {"text_config": {"_attn_implementation_internal": "evil/kernel@main"}},
        {"parts": [{"experts_implementation": "evil/kernel"}]},
    ],
)
def test_compiled_code_of_the_hub_is_refused(folder: Path, config: object) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    assert "compiled code" in refused(folder)
    (folder / "config.json").write_text('{"attn_implementation": "sdpa"}')
    assert refused(folder) == ""


@pytest.mark.parametrize("text", ["", "[]", "nonsense", "[" * 100_000, "\0"])
def test_settings_that_are_none_are_left_to_the_libraries(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert refused(folder) == ""
