"""Files are told by their first bytes."""

from __future__ import annotations

import pytest

from app.domain.datasets import sniffing


@pytest.mark.parametrize(
    "head, word",
    [
        (b"PK\x03\x04....", "ZIP"),
        (b"PAR1....", "Parquet"),
        (b"\xff\xfea\x00", "UTF-16"),
        (b"abc\x00def", "binary"),
        (b' [\n{"messages"', "array"),
        (b"\x1f\x8b\x08", "gzip"),
    ],
)
def test_files_that_are_no_json_lines_are_told_by_their_head(head: bytes, word: str) -> None:
    assert word in sniffing.sniff(head)


def test_json_lines_pass_the_sniffing() -> None:
    assert sniffing.sniff(b'\xef\xbb\xbf{"messages": []}\n') == ""


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"question,answer\nWhat?,This\nWhy?,That\n", "commas"),
        (b"\xef\xbb\xbfquestion;answer\r\nWas?;Das\r\n", "semicolons"),
        (b"question\tanswer, long\nWhat?\tThis\n", "tabs"),
        (b'{"messages": []}\n{"messages": []}\n', ""),
        (b"# a comment, first\n" + b'{"messages": []}\n', ""),
        (b"only one line, with a comma\n", ""),
        (b"rubbish\nmore rubbish\n", ""),
    ],
)
def test_a_table_is_told_from_lines_that_are_bad(head: bytes, what: str) -> None:
    said = sniffing.sniff(head)
    assert (what in said) if what else said == ""
