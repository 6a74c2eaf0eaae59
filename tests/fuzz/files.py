"""Files as nobody should write them: every shape and format, and what goes wrong on the way."""

from __future__ import annotations

import csv
import gzip
import io
import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from backports import zstd
from hypothesis import strategies as st

from app.domain.datasets.formats import FIELDS

NAMES = sorted({name for fields in FIELDS.values() for field in fields for name in field.columns})
ODD = [
    "",
    " ",
    "<think>",
    "<think>a</think>b",
    "a</think>b",
    '":',
    "{{name}}",
    "\x00",
    "\u2028",
    "😀",
    "[1]",
    '{"a": 1}',
    "\r",
]
TEXT = st.sampled_from(["Why?", "Because.", *ODD]) | st.text(st.characters(codec="utf-8"), max_size=20)
ROLES = st.sampled_from(["user", "assistant", "system", "tool", "human", "gpt", "function_call", "robot"])
PART = st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url", "thinking"]), "text": TEXT})
TURN: Any = st.fixed_dictionaries(
    {},
    optional={
        "role": ROLES,
        "content": TEXT | st.lists(PART, max_size=2) | st.none(),
        "from": ROLES,
        "value": TEXT,
        "weight": st.sampled_from([0, 1, 0.5, None, "1"]),
        "reasoning_content": TEXT,
        "tool_calls": st.sampled_from([[], [{"function": {"name": "f", "arguments": "{}"}}], [7], "x"]),
    },
)
GOOD = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]}
JUNK: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)
FAMILIES: list[Any] = [
    st.just(GOOD),
    st.fixed_dictionaries({"messages": st.lists(TURN, max_size=4)}, optional={"tools": JUNK, "id": st.integers()}),
    st.fixed_dictionaries({"conversations": st.lists(TURN, max_size=4)}),
    st.fixed_dictionaries({"instruction": TEXT, "output": TEXT}, optional={"input": TEXT, "history": JUNK}),
    st.fixed_dictionaries({"Question": TEXT, "Response": TEXT}, optional={"Complex_CoT": TEXT}),
    st.fixed_dictionaries({"prompt": JUNK, "chosen": JUNK, "rejected": JUNK}),
    st.fixed_dictionaries({"prompt": TEXT, "completion": TEXT, "label": st.booleans()}),
    st.fixed_dictionaries({"text": TEXT}),
    JUNK,
]
GOOD_ONES = st.sampled_from([GOOD, GOOD | {"id": 7}, {"messages": [*GOOD["messages"]] * 3}])
#: What stands where a row should.
TRAPS = [
    b'{"messages": [',
    b'{"text": NaN}',
    b'{"text": 1e999}',
    b'{"text": "\\ud800"}',
    b'{"text": "a", "text": "b"}',
    b'{"text": "\x00"}',
    b'{"text": "\xff\xfe"}',
    b'{"text": "\xed\xa0\x80"}',
    b'{"text": "open',
    b'{"text": "a"}}',
    b"[" * 2_000 + b"]" * 2_000,
    b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
    b"{" + b",".join(b'"%d":1' % n for n in range(12_000)) + b"}",
    b'{"text": "' + b"x" * 70_000 + b'"}',
    b"9" * 5_000,
    b"nonsense",
    b'"',
    b"\\",
    b"]",
    b"}",
    b",",
]


@dataclass(frozen=True)
class Made:
    """A file, and what it is called."""

    data: bytes
    name: str


def _lines(rows: list[bytes], end: bytes) -> bytes:
    return end.join(rows)


def _table(rows: list[Any], separator: str, quoting: int) -> bytes:
    dicts = [row for row in rows if isinstance(row, dict)]
    names = list(dict.fromkeys(name for row in dicts for name in row)) or ["text"]
    out = io.StringIO(newline="")
    quoting = csv.QUOTE_MINIMAL if len(names) == 1 else quoting  # an empty cell alone must be quoted
    table = csv.writer(out, delimiter=separator, quoting=quoting, escapechar="\\")  # type: ignore[arg-type]
    table.writerow(names)
    for row in dicts:
        table.writerow([v if isinstance(v := row.get(name, ""), str) else json.dumps(v) for name in names])
    return out.getvalue().encode("utf-8", "surrogatepass")


def _parquet(rows: list[Any]) -> bytes:
    out = io.BytesIO()
    texts = [
        {k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in rows if isinstance(row, dict)
    ]
    pq.write_table(pa.Table.from_pylist(texts or [{"text": "a"}]), out)
    return out.getvalue()


@st.composite
def files(draw: st.DrawFn) -> Made:
    """Any of them."""
    family = draw(st.sampled_from([GOOD_ONES, *FAMILIES, st.one_of(FAMILIES)]))
    rows = draw(st.lists(family, max_size=6)) + [GOOD] * draw(st.sampled_from([0, 0, 1, 40]))
    shape = draw(st.sampled_from(["lines", "lines", "array", "indented", "values", "csv", "tsv", "parquet", "bytes"]))
    ascii_only = draw(st.booleans())
    texts = [json.dumps(row, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass") for row in rows]
    traps = draw(st.sampled_from([0, 0, 1, 3]))
    for trap in draw(st.lists(st.sampled_from(TRAPS), min_size=traps, max_size=traps)):
        texts.insert(draw(st.integers(0, len(texts))), trap)
    match shape:
        case "lines":
            data = _lines(texts, draw(st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \t\n"])))
        case "array":
            data = b"[" + draw(st.sampled_from([b",", b", ", b",\n"])).join(texts) + b"]"
        case "indented":
            data = json.dumps(rows, indent=2, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        case "values":
            data = b"\n".join(json.dumps(row, indent=1).encode() for row in rows)
        case "csv" | "tsv":
            quoting = draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONE]))
            data = _table(rows, "," if shape == "csv" else "\t", quoting)
        case "parquet":
            data = _parquet(rows)
        case _:
            data = draw(st.binary(max_size=200))
    return Made(_harm(draw, data), "rows." + draw(st.sampled_from(["jsonl", "json", "csv", "tsv", "txt"])))


def _harm(draw: st.DrawFn, data: bytes) -> bytes:
    """A mark before it, a piece out of it, a byte in it, a packing around it, and that cut off."""
    if draw(st.integers(0, 3)) == 0 and data:
        at = draw(st.integers(0, len(data)))
        harm = draw(st.sampled_from([b"", b"\x00", b"\xff", b'"', b"\\", b"\n", b"{", b"]", b"\xef\xbb\xbf", b",,,"]))
        data = data[:at] + harm + data[at + draw(st.integers(0, 3)) :]
    prefix = draw(st.sampled_from([*[b""] * 9, b"\xef\xbb\xbf", b"\xef\xbb\xbf", b"\n\n", b"\xff\xfe"]))
    data = prefix + data
    pack = draw(st.sampled_from([None, None, None, gzip.compress, zstd.compress]))
    if pack is not None:
        data = pack(data)
        data = data[: len(data) - draw(st.sampled_from([0, 0, 0, 1, 9]))]
    return data
