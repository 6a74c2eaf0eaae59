"""The metadata at the head of a GGUF file, read in a tenth of a second: gguf-py's reader takes many times that."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO, Any

#: Value types of the format by number: struct codes, in the order of the specification.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAGIC = b"GGUF"


def read_head(path: Path) -> dict[str, Any]:
    """All keys of `path` with their values; arrays are lists. Raises `ValueError` for another kind of file."""
    with path.open("rb", buffering=1 << 20) as file:
        magic, version, _tensors, keys = struct.unpack("<4sIQQ", file.read(24))
        if magic != _MAGIC or version < 2:
            raise ValueError(f"{path.name} is no GGUF file of version 2 or later")
        return {_text(file): _value(file, _number(file, "I")) for _ in range(keys)}


def _value(file: IO[bytes], kind: int) -> Any:
    if kind == _STRING:
        return _text(file)
    if kind != _ARRAY:
        return _number(file, _NUMBERS[kind])
    inner, count = struct.unpack("<IQ", file.read(12))
    if inner in _NUMBERS:
        code = _NUMBERS[inner]
        return list(struct.unpack(f"<{count}{code}", file.read(count * struct.calcsize(f"<{code}"))))
    return [_value(file, inner) for _ in range(count)]


def _number(file: IO[bytes], code: str) -> Any:
    return struct.unpack(f"<{code}", file.read(struct.calcsize(f"<{code}")))[0]


def _text(file: IO[bytes]) -> str:
    return file.read(_number(file, "Q")).decode("utf-8", "replace")
