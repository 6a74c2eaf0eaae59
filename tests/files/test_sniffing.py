"""Files are told by their first bytes, and only then by their names."""

from __future__ import annotations

import pytest

from app.domain.datasets.refusals import FormatError
from app.domain.files.reading import stem
from app.domain.files.sniffing import FileKind, kind_of, packing_of


@pytest.mark.parametrize(
    "head, word",
    [
        (b"PK\x03\x04....", "ZIP"),
        (b"\xff\xfea\x00", "UTF-16"),
        (b"abc\x00def", "binary"),
        (b"\x1f\x8b\x08", "gzip file in another"),
        (b"BZh9", "bzip2"),
    ],
)
def test_what_holds_no_rows_is_refused_by_name(head: bytes, word: str) -> None:
    with pytest.raises(FormatError, match=word):
        kind_of(head, "rows.jsonl")


@pytest.mark.parametrize(
    "head, name, kind",
    [
        (b'\xef\xbb\xbf{"messages": []}\n', "a.csv", FileKind("lines")),
        (b' [\n{"messages"', "a.jsonl", FileKind("array")),
        (b'{\n  "messages": []\n}\n', "a.jsonl", FileKind("values")),
        (b"PAR1....", "a.jsonl", FileKind("parquet")),
        (b"question,answer\nWhat?,This\nWhy?,That\n", "", FileKind("table", ",")),
        (b'"question","answer"\n"What, then?","This"\n', "", FileKind("table", ",")),
        (b"\xef\xbb\xbfquestion;answer\r\nWas?;Das\r\n", "a.csv", FileKind("table", ";")),
        (b"question\tanswer, long\nWhat?\tThis\n", "", FileKind("table", "\t")),
        (b"text\nOnce upon a time.\n", "a.csv.gz", FileKind("table", ",")),
        (b"# a comment, first\n" + b'{"messages": []}\n', "", FileKind("lines")),
        (b"only one line, with a comma\n", "", FileKind("lines")),
        (b"rubbish\nmore rubbish\n", "a.txt", FileKind("lines")),
        (b"\n\n", "", FileKind("lines")),
    ],
)
def test_the_kind_of_a_file(head: bytes, name: str, kind: FileKind) -> None:
    assert kind_of(head, name) == kind


def test_packed_files_are_known_by_their_magic() -> None:
    assert [packing_of(head) for head in (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd.", b"{")] == ["gz", "zst", ""]


@pytest.mark.parametrize(
    "name, kept", [("a.jsonl", "a"), ("a.b.CSV.gz", "a.b"), ("a.zst", "a"), ("a.", "a."), ("notes", "notes")]
)
def test_the_name_of_a_data_set_leaves_the_kind_out(name: str, kept: str) -> None:
    assert stem(name) == kept
