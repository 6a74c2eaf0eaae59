"""The audit of a data set: tokens a second, against the loops people write, on the same rows in one run.

`plain loop` is `apply_chat_template` row by row: ids and nothing else, no labels, no check. The audit labels every row,
reads every row back, and counts all that its report says. Both the clock and the CPU's own time are told: on a machine
that is busy with something else only the second can be compared.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from worker.trainer.protocol import Phase, Result, parse
from worker.trainer.specs import AuditSpec, ModelSpec, write_spec

BUNDLED = "HuggingFaceTB/SmolLM2-135M-Instruct"
ROWS = 1_500
_DOCS = Path(__file__).resolve().parents[1] / "docs"


def made_rows(count: int) -> list[dict[str, Any]]:
    """Conversations of about 550 tokens out of sentences of our own papers."""
    text = " ".join(path.read_text("utf-8") for path in sorted(_DOCS.rglob("*.md"))).replace("\n", " ")
    sentences = [part.strip() for part in text.split(". ") if 20 < len(part) < 300]
    rng = random.Random(0)

    def said(count: int) -> str:
        return ". ".join(rng.choice(sentences) for _ in range(count))

    user, assistant = "user", "assistant"
    return [
        {"messages": [{"role": user, "content": said(4)}, {"role": assistant, "content": said(12)}]}
        for _ in range(count)
    ]


def timed(name: str, tokens: Callable[[], int]) -> tuple[float, float]:
    """Tokens a second by the clock and by the CPU's time, printed."""
    clock, cpu = time.perf_counter(), time.process_time()
    count = tokens()
    found = count / (time.perf_counter() - clock), count / (time.process_time() - cpu)
    print(f"{name:44} {found[0] / 1e6:6.2f} M/s   {found[1] / 1e6:6.2f} M/CPU-s   {count:,} tokens")
    return found


def loops(folder: Path, rows: list[Any]) -> float:
    """The plain loop and ours, in this process; returns the plain loop's tokens a CPU second."""
    from worker.trainer.chat import load_chat
    from worker.trainer.tokens import Encoded, encode, encode_many

    chat = load_chat(folder)
    ask = chat.tokenizer.apply_chat_template

    def ours(found: Iterable[object]) -> int:
        return sum(row.full_length for row in found if isinstance(row, Encoded))

    ours(encode(row, chat) for row in rows[:50])
    plain = timed("plain loop, ids alone", lambda: sum(len(_ids(ask(row["messages"]))) for row in rows))
    timed("encode, row by row", lambda: ours(encode(row, chat) for row in rows))
    for threads in (1, 2):
        timed(f"encode_many, {threads} threads", lambda n=threads: ours(encode_many(rows, chat, n)))
    return plain[1]


def _ids(found: Any) -> list[int]:
    ids: list[int] = found["input_ids"] if hasattr(found, "keys") else found
    return ids


class Whole(NamedTuple):
    """An audit: its tokens, seconds by the clock from the first row to the last, CPU seconds with its start, MB."""

    tokens: int
    clock: float
    cpu: float
    most: float


def whole(job: Path, cache: Path, rows: list[dict[str, Any]]) -> Whole:
    """The child itself."""
    job.mkdir()
    (job / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = ModelSpec(base_model=BUNDLED, model_cache=cache, offline=True)
    write_spec(job, AuditSpec(model=model, max_seq_length=512))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "worker.audit", str(job)], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    events = [parse(line) for line in (job / "events.jsonl").read_bytes().splitlines()]
    beats = [event.at for event in events if isinstance(event, Phase) and event.phase == "auditing"]
    tokens = next(event.payload["tokens_total"] for event in events if isinstance(event, Result))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Whole(tokens, (beats[-1] - beats[0]).total_seconds(), cpu, after.ru_maxrss / 1024)


def main() -> None:
    """The loops, then the whole audit of as many rows and of four times as many."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    rows = made_rows(ROWS)
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "models"
        first = whole(Path(folder) / "first", cache, rows)
        plain = loops(next(cache.glob("*.tokenizer")), rows)
        more = whole(Path(folder) / "more", cache, rows * 4)
        for count, found in ((ROWS, first), (ROWS * 4, more)):
            print(
                f"the audit, {count:,} rows: {found.tokens / found.clock / 1e6:.2f} M/s, {found.most:,.0f} MB at most"
            )
        speed = (more.tokens - first.tokens) / (more.cpu - first.cpu)  # without its start, which both have
        print(f"the audit, what more rows cost: {speed / 1e6:.2f} M/CPU-s; against the plain loop: {speed / plain:.2f}")
        print(f"load of the machine meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
