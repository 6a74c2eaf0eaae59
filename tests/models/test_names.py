"""Names from people, and from hostile ones: what passes is safe as part of a path, and no two share a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.settings import Settings
from app.domain.models import catalogue
from app.domain.models.names import is_commit, is_hub_id, is_revision
from worker.trainer.specs import ModelSpec
from worker.trainer.weights import cache_folder

CACHE = Path("/cache")
OFFLINE = Settings.model_validate({"data_dir": "/nowhere", "hub": {"offline": True}})
HOSTILE = st.text(st.sampled_from("ab.-_/\\~@+%: \n\r\t\0\u202eéA1*$`{'\""), max_size=30)
ANYTHING = st.one_of(HOSTILE, st.text(max_size=120), st.from_regex(r"[\w.-]{1,12}/[\w.-]{1,12}"))


@given(ANYTHING)
@example("a/b\n")
@example("é/b")
@example("a/b.part")
@example("a--b/c")
@example("a/..")
def test_what_passes_as_a_hub_id_is_one_folder_below_the_cache(name: str) -> None:
    if not is_hub_id(name):
        return
    folder = cache_folder(ModelSpec(base_model=name, model_cache=CACHE))
    assert (folder.parent, folder.resolve()) == (CACHE, folder)
    assert folder.name.split("--") == name.split("/")  # and back: no two names share it
    assert name.isascii()
    assert name.isprintable()
    assert folder.suffix not in {".part", ".lock", ".tokenizer"}


@given(ANYTHING)
@example("main\n")
@example("../../../etc")
@example("refs/pr/1")
def test_what_passes_as_a_revision_stays_in_its_folder(revision: str) -> None:
    if not is_revision(revision):
        return
    folder = cache_folder(ModelSpec(base_model="a/b", revision=revision, model_cache=CACHE))
    assert (folder.parent, folder.resolve()) == (CACHE, folder)
    assert folder.name.partition("@")[2].replace("%2F", "/") == revision
    assert folder.suffix not in {".part", ".lock", ".tokenizer"}


@given(ANYTHING)
@example("/" + "a" * 300)
@example("/a\0b")
@example("~nobody-of-that-name/x")
@example("/etc")
@example("../x")
@example("./x")
def test_every_name_gets_an_answer_and_nothing_outside_is_looked_at(name: str) -> None:
    refused = catalogue.check_model(OFFLINE, name)
    assert refused or catalogue.is_on_machine(OFFLINE, name)
    assert catalogue.shape_of(OFFLINE, name) is None or catalogue.find(name)


@pytest.mark.parametrize(
    "name", ["HuggingFaceTB/SmolLM2-135M-Instruct", "unsloth/x_y.z", "01-ai/Yi-1.5-6B", "_fsx/model", "a/b_"]
)
def test_names_of_the_hub_pass(name: str) -> None:
    assert is_hub_id(name)


def test_every_model_of_the_catalogue_passes() -> None:
    assert all(is_hub_id(model.hub_id) for model in catalogue.CATALOGUE)


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/12", "feature/x_y", "a" * 40])
def test_revisions_of_the_hub_pass(revision: str) -> None:
    assert is_revision(revision)
    assert catalogue.check_revision(revision) == ""


def test_a_commit_is_whole_and_nothing_else() -> None:
    assert is_commit("0123456789abcdef0123456789abcdef01234567")
    for not_one in ("main", "a" * 39, "a" * 41, "A" * 40, "a" * 40 + "\n", "g" * 40, ""):
        assert not is_commit(not_one)
