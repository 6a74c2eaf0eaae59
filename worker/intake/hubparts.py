"""Which files of a repository on the Hub are which part of a data set: a configuration and a split. Pure.

As the Hub has it: the card names them (`configs`, with patterns), or the files' names tell them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_PACKED = re.compile(r"\.(gz|zst)$")
#: What describes a data set, and is none.
_NO_DATA = frozenset({"dataset_infos.json", "dataset_info.json", "state.json", "dataset_dict.json", "metadata.json"})
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_KEYWORD = {
    split: re.compile(rf"(?:^|[-._ /0-9])(?:{'|'.join(words)})(?:$|[-._ /0-9])", re.IGNORECASE)
    for split, words in _SPLITS.items()
}
MOST_PARTS = 200
#: The Hub's own copy of a data set, as Parquet: configuration/split/0000.parquet.
_CONVERTED = re.compile(r"([^/]+)/(?:partial-)?([^/]+)/\d+\.parquet")


class Part(NamedTuple):
    """A split of a configuration, and its files in order."""

    config: str
    split: str
    files: tuple[str, ...]


def ending_of(name: str) -> str:
    """`.jsonl` of `a/b.jsonl.gz`; empty where it is none that can be read."""
    suffix = PurePosixPath(_PACKED.sub("", name.lower())).suffix
    return suffix if suffix in ENDINGS else ""


def parts_of(names: Iterable[str], card: Mapping[str, Any] | None) -> list[Part]:
    """All of them; none where the repository holds nothing that can be read."""
    usable = sorted(name for name in names if _is_data(name))
    found = list(_by_card(usable, (card or {}).get("configs"))) or list(_by_names("default", usable))
    return _merged(found)[:MOST_PARTS]


def _merged(parts: list[Part]) -> list[Part]:
    """A card may name a part twice; by its names it could never be chosen, so all of its files are one."""
    files: dict[tuple[str, str], list[str]] = {}
    for part in parts:
        files.setdefault((part.config, part.split), []).extend(part.files)
    return [Part(config, split, tuple(sorted(set(each)))) for (config, split), each in files.items()]


def converted_parts(names: Iterable[str]) -> list[Part]:
    """Of the branch on which the Hub keeps its copy."""
    files: dict[tuple[str, str], list[str]] = {}
    for name in sorted(names):
        if _is_data(name) and (match := _CONVERTED.fullmatch(name)):
            files.setdefault((match[1], match[2]), []).append(name)
    return [Part(config, split, tuple(each)) for (config, split), each in files.items()][:MOST_PARTS]


def chosen(parts: list[Part], config: str, split: str) -> list[Part]:
    """Those that a wish leaves."""
    return [part for part in parts if config in {"", part.config} and split in {"", part.split}]


def _is_data(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(piece.startswith((".", "__")) for piece in path.parts)  # `..` is among them
    return bool(ending_of(name)) and not hidden and not path.is_absolute() and path.name not in _NO_DATA


def _by_card(names: list[str], configs: object) -> Iterator[Part]:
    for config in configs if isinstance(configs, list) else ():
        if not isinstance(config, dict):
            continue
        title, folder = str(config.get("config_name", "default")), str(config.get("data_dir") or "").strip("/")
        inside = [name for name in names if not folder or name.startswith(f"{folder}/")]
        wanted = config.get("data_files")
        if wanted is None:
            yield from _by_names(title, inside)
        else:
            yield from _by_patterns(title, inside, folder, _patterns(wanted))


def _patterns(wanted: object) -> dict[str, list[str]]:
    """Split -> patterns, in every way in which a card may write them."""
    if isinstance(wanted, dict):
        return {str(split): _texts(each) for split, each in wanted.items()}
    found: dict[str, list[str]] = {}
    for each in wanted if isinstance(wanted, list) else [wanted]:
        split, path = (each.get("split", "train"), each.get("path")) if isinstance(each, dict) else ("train", each)
        found.setdefault(str(split), []).extend(_texts(path))
    return found


def _texts(given: object) -> list[str]:
    return [each for each in (given if isinstance(given, list) else [given]) if isinstance(each, str)]


def _by_patterns(config: str, names: list[str], folder: str, patterns: Mapping[str, list[str]]) -> Iterator[Part]:
    for split, each in patterns.items():
        shapes = [_glob(f"{folder}/{pattern}" if folder else pattern.removeprefix("./")) for pattern in each]
        files = tuple(name for name in names if any(shape.fullmatch(name) for shape in shapes))
        if files:
            yield Part(config, split, files)


def _glob(pattern: str) -> re.Pattern[str]:
    """`*` within a folder, `**` over folders."""
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    words = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(words.get(piece, re.escape(piece)) for piece in pieces))


def _by_names(config: str, names: list[str]) -> Iterator[Part]:
    """By the words in them; of several kinds of files the one that there are most of."""
    kinds = Counter(ending_of(name) for name in names)
    if not kinds:
        return
    kind = max(kinds, key=lambda each: (kinds[each], each == ".parquet"))
    files: dict[str, list[str]] = {}
    for name in names:
        if ending_of(name) == kind:
            files.setdefault(_split_of(name), []).append(name)
    for split in sorted(files, key=[*_SPLITS].index):
        yield Part(config, split, tuple(files[split]))


def _split_of(name: str) -> str:
    """The file's own name counts before its folders."""
    path = PurePosixPath(name)
    for text in (path.name, str(path.parent)):
        for split, words in _KEYWORD.items():
            if words.search(text):
                return split
    return "train"
