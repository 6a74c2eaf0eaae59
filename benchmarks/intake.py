"""Intake against the standard library's json, line by line with the same checks: megabytes a second, and memory.

Each case is the child process itself, from its start to its end: look, checks, problems, hash and canonical copy. A
second is one of CPU time, so that the figures mean something on a busy machine too; a process here uses one core.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from worker.trainer.specs import IntakeSpec, write_spec

MEGABYTES = int(os.environ.get("MB", "200"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
#: What people write without thinking twice: parse, check, convert, hash, write. One line at a time, so memory is flat.
PLAIN = """
import hashlib, json, sys
from app.domain.datasets.formats import convert, detect
digest, found = hashlib.sha256(), None
with open(sys.argv[1], encoding="utf-8") as source, open(sys.argv[2], "w", encoding="utf-8") as out:
    for line in source:
        try:
            row = json.loads(line)
            found = found or detect(row)
            kept = json.dumps(convert(row, *found), ensure_ascii=False) + "\\n"
        except ValueError:
            continue
        out.write(kept)
        digest.update(kept.encode())
"""
_WORDS = """the model learns from rows of text and answers in the words that it has seen; ein Satz mit Umlauten: schön,
grün, weiß. 中文也有 a line\nwith a break and a "quote" """.split(" ")  # noqa: SIM905 - read as a text


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(_WORDS, k=words))


def messages(rng: random.Random) -> dict[str, Any]:
    """A conversation of about a kilobyte."""
    turns = [{"role": "system", "content": "Be brief."}] if rng.random() < 0.3 else []
    for _ in range(rng.choice((1, 1, 2))):
        turns.append({"role": "user", "content": _text(rng, 25)})
        turns.append({"role": "assistant", "content": _text(rng, 110)})
    return {"messages": turns}


def reasoned(rng: random.Random) -> dict[str, Any]:
    """One with reasoning in the answer, which has to be taken out."""
    row = messages(rng)
    row["messages"][-1]["content"] = f"<think>\n{_text(rng, 40)}\n</think>\n\n{_text(rng, 80)}"
    return row


def sharegpt(rng: random.Random) -> dict[str, Any]:
    """The same in ShareGPT's words."""
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    turns = messages(rng)["messages"]
    return {"conversations": [{"from": names[turn["role"]], "value": turn["content"]} for turn in turns]}


def _lines(make: Callable[[random.Random], dict[str, Any]], bad: float = 0.0) -> Iterator[bytes]:
    rng, size = random.Random(3407), 0
    while size < MEGABYTES * 1_000_000:
        line = json.dumps(make(rng), ensure_ascii=False).encode() + b"\n"
        yield (line := line[:-9] + b"\n" if rng.random() < bad else line)
        size += len(line)


def _array() -> Iterator[bytes]:
    yield b"["
    for number, line in enumerate(_lines(messages)):
        yield b",\n" * (number > 0) + line[:-1]
    yield b"]\n"


CASES: dict[str, Callable[[], Iterator[bytes]]] = {
    "messages": lambda: _lines(messages),
    "messages, 1 % bad lines": lambda: _lines(messages, bad=0.01),
    "messages in one array": _array,
    "messages with <think>": lambda: _lines(reasoned),
    "ShareGPT": lambda: _lines(sharegpt),
}


def run_once(command: list[str]) -> tuple[float, float]:
    """(seconds of CPU time, megabytes of memory at most). What else runs on the machine changes neither much."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    memory, ended = 0.0, 0
    while not ended:
        with suppress(OSError, IndexError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            memory = max(memory, int(status.split("VmHWM:")[1].split()[0]) / 1000)
        time.sleep(0.05)
        ended, status_word, usage = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status_word)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, memory


def _intake(source: Path, folder: Path) -> tuple[float, float]:
    job = folder / "job"
    job.mkdir(exist_ok=True)
    for old in job.iterdir():
        old.unlink()
    write_spec(job, IntakeSpec(source=source, filename="rows"))
    return run_once([sys.executable, "-m", "worker.intake", str(job)])


def _tell(name: str, size: int, found: list[tuple[float, float]], base: float) -> float:
    seconds, memory = min(found)[0], max(memory for _, memory in found)
    speed = size / 1e6 / seconds
    print(f"{name:32}{speed:>9.0f} MB/s{memory:>9.0f} MB{speed / base if base else 1:>8.2f}×", flush=True)
    return speed


def main() -> None:
    """Alternate with the plain way, and print the best of each with its ratio."""
    print(f"{MEGABYTES} MB each, best of {ROUNDS}, by CPU time; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':32}{'speed':>14}{'memory':>12}{'ratio':>9}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, base = folder / "rows", 0.0
        for case, make in CASES.items():
            with source.open("wb") as out:
                out.writelines(make())
            size = source.stat().st_size
            ours, plain = [], []
            for _ in range(ROUNDS):
                ours.append(_intake(source, folder))
                if case == "messages":
                    plain.append(run_once([sys.executable, "-c", PLAIN, str(source), str(folder / "out")]))
            if plain:
                base = _tell("json, line by line", size, plain, 0)
            _tell(case, size, ours, base)
            if case == "messages":
                packed = folder / "rows.gz"
                with source.open("rb") as plain_file, gzip.open(packed, "wb", 1) as out:
                    shutil.copyfileobj(plain_file, out)
                _tell("the same, packed (gz)", size, [_intake(packed, folder)], base)
                packed.unlink()
