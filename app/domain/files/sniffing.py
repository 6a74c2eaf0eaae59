"""What a file is: by its first bytes, and where they leave it open by its name. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from app.domain.datasets.refusals import FormatError

#: Bytes of the unpacked file that are looked at.
HEAD_BYTES = 65_536
Packing = Literal["", "gz", "zst"]
Shape = Literal["lines", "array", "values", "table", "parquet"]

BOM = b"\xef\xbb\xbf"
_PACKED: dict[bytes, Packing] = {b"\x1f\x8b": "gz", b"\x28\xb5\x2f\xfd": "zst"}
_REFUSED = {
    b"PK\x03\x04": "a ZIP archive (perhaps an Excel file)",
    b"\x1f\x8b": "a gzip file in another packed file",
    b"\x28\xb5\x2f\xfd": "a zstd file in another packed file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"%PDF": "a PDF",
    b"GGUF": "a GGUF model",
}
_WANTED = "Upload .jsonl, .json, .csv, .tsv or .parquet, as it is or packed as .gz or .zst."
_SEPARATORS = (b"\t", b",", b";", b"|")
_QUOTED = re.compile(rb'"(?:[^"]|"")*+"')


@dataclass(frozen=True)
class FileKind:
    """How the rows lie in a file. `separator`: of a table."""

    shape: Shape
    separator: str = ""


def packing_of(head: bytes) -> Packing:
    """How a file is packed, by its first bytes."""
    return next((packing for magic, packing in _PACKED.items() if head.startswith(magic)), "")


def kind_of(head: bytes, filename: str = "") -> FileKind:
    """The kind of a file by its first (unpacked) bytes. Raises `FormatError` with what it is instead."""
    if head.startswith(b"PAR1"):
        return FileKind("parquet")
    _refuse(head)
    text = head.removeprefix(BOM).lstrip()
    if text.startswith(b"["):
        return FileKind("array")
    if text.startswith(b"{"):
        return FileKind("values" if text.split(b"\n", 1)[0].strip() == b"{" else "lines")
    name = re.sub(r"\.(gz|zst)$", "", filename.lower())
    separator = _separator(text, named=name.endswith((".csv", ".tsv", ".tab")))
    return FileKind("table", separator.decode()) if separator else FileKind("lines")


def _refuse(head: bytes) -> None:
    for magic, what in _REFUSED.items():
        if head.startswith(magic):
            raise FormatError(f"This is {what}. {_WANTED}")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FormatError("This file is UTF-16. Save it as UTF-8 and upload it again.")
    if b"\x00" in head:
        raise FormatError(f"This file is binary, not text. {_WANTED}")


def _separator(text: bytes, *, named: bool) -> bytes:
    """What stands between the cells. A table is told by its name, or by lines with as many separators each."""
    lines = [line.strip() for line in _QUOTED.sub(b"", text).splitlines() if line.strip()][:3]
    if not lines:
        return b""
    if named:
        return max(_SEPARATORS, key=lines[0].count) if any(mark in lines[0] for mark in _SEPARATORS) else b","
    for mark in _SEPARATORS[:3]:
        counts = {line.count(mark) for line in lines}
        if len(lines) > 1 and len(counts) == 1 and counts != {0}:
            return mark
    return b""
