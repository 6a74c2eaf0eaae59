"""Which files are which part, by the card and by their names."""

from __future__ import annotations

from typing import Any

import pytest

from worker.intake.hubparts import converted_parts, ending_of, parts_of


def told(names: list[str], configs: Any = None) -> list[tuple[str, str, list[str]]]:
    return [(part.config, part.split, list(part.files)) for part in parts_of(names, {"configs": configs})]


@pytest.mark.parametrize(
    "names, splits",
    [
        (["data.jsonl"], ["train"]),
        (["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"], ["train", "test"]),
        (["train.csv", "dev.csv", "eval.csv"], ["train", "validation", "test"]),
        (["val/1.json", "training/1.json"], ["train", "validation"]),
        (["my_validation_set.jsonl", "contrast.jsonl"], ["train", "validation"]),
        (["README.md", ".gitattributes", "dataset_infos.json", "a.zip", ".cache/x.jsonl"], []),
        (["a.parquet", "b.parquet", "notes.csv"], ["train"]),
    ],
)
def test_the_names_tell_the_split(names: list[str], splits: list[str]) -> None:
    assert [split for _config, split, _files in told(names)] == splits


NAMES = ["a/x.jsonl", "a/b/y.jsonl", "c.csv", "d+(1).jsonl"]


@pytest.mark.parametrize(
    "wanted, files",
    [
        ("c.csv", ["c.csv"]),
        (["a/*.jsonl", "c.csv"], ["a/x.jsonl", "c.csv"]),
        ("a/**", ["a/b/y.jsonl", "a/x.jsonl"]),
        ("**/*.jsonl", ["a/b/y.jsonl", "a/x.jsonl", "d+(1).jsonl"]),
        ("./d+(1).jsonl", ["d+(1).jsonl"]),
        ("?.csv", ["c.csv"]),
        ([{"split": "train", "path": ["a/x.jsonl", "c.csv"]}], ["a/x.jsonl", "c.csv"]),
        ({"train": "c.csv"}, ["c.csv"]),
    ],
)
def test_the_card_names_them_by_patterns(wanted: Any, files: list[str]) -> None:
    assert told(NAMES, [{"config_name": "k", "data_files": wanted}]) == [("k", "train", files)]


@pytest.mark.parametrize(
    "configs", [None, 7, [], ["x"], [{}], [{"data_files": 7}], [{"data_files": {"train": None}}], [{"data_dir": 7}]]
)
def test_an_odd_card_does_no_harm(configs: Any) -> None:
    assert all(files for _config, _split, files in told(NAMES, configs))


def test_what_a_card_names_twice_is_one_part() -> None:
    twice = [{"config_name": "k", "data_files": each} for each in ("a/*.jsonl", "**/*.jsonl")]
    assert told(NAMES, twice) == [("k", "train", ["a/b/y.jsonl", "a/x.jsonl", "d+(1).jsonl"])]


def test_a_name_that_leads_out_of_its_folder_is_none() -> None:
    names = ["../x.jsonl", "/etc/x.jsonl", "a/../../x.jsonl", "../train/0000.parquet", "a/../0000.parquet"]
    assert parts_of(names, None) == []
    assert parts_of(names, {"configs": [{"data_files": "**"}]}) == []
    assert converted_parts(names) == []


def test_the_hubs_copy_has_a_layout_of_its_own() -> None:
    names = ["en/train/0000.parquet", "en/train/0001.parquet", "en/partial-test/0000.parquet", "x.json"]
    assert [(part.config, part.split, len(part.files)) for part in converted_parts(names)] == [
        ("en", "test", 1),
        ("en", "train", 2),
    ]


def test_endings_are_seen_through_a_packing() -> None:
    assert [ending_of(name) for name in ("a.JSONL.gz", "a.csv.zst", "a.zip", "gz", "a.tar.gz")] == [
        ".jsonl", ".csv", "", "", "",
    ]  # fmt: skip
