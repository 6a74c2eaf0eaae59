"""What a file is, by its first bytes. Pure."""

from __future__ import annotations


def sniff(head: bytes) -> str:
    """Why a file that starts with `head` can't be JSON lines, or an empty string."""
    known = {
        b"PK\x03\x04": "a ZIP archive (perhaps an Excel file)",
        b"\x1f\x8b": "a gzip file",
        b"\x28\xb5\x2f\xfd": "a zstd file",
        b"PAR1": "a Parquet file",
        b"%PDF": "a PDF",
        b"GGUF": "a GGUF model",
    }
    for magic, what in known.items():
        if head.startswith(magic):
            return f"This is {what}, not JSON lines. Upload a .jsonl file: UTF-8 text with one JSON object a line."
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "This file is UTF-16. Save it as UTF-8 and upload it again."
    if b"\x00" in head:
        return "This file is binary, not text. Upload a .jsonl file: UTF-8 text with one JSON object a line."
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        return (
            "This is one JSON array. Put each row on a line of its own, without the brackets and commas between rows."
        )
    return _sniff_table(head)


def _sniff_table(head: bytes) -> str:
    """A table is told by its first lines: none begins an object, and all have the same number of separators."""
    text = [line.strip() for line in head.removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()][:3]
    if len(text) < 2 or any(line.startswith((b"{", b'"{')) for line in text):
        return ""
    for separator, name in ((b"\t", "tabs"), (b",", "commas"), (b";", "semicolons")):
        counts = {line.count(separator) for line in text}
        if len(counts) == 1 and counts != {0}:
            return (
                f"This looks like a table with {name} (CSV), not JSON lines. Save it as JSON lines, one object a line "
                'with the columns as names; spreadsheets and pandas can (orient="records", lines=True).'
            )
    return ""
