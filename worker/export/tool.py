"""Runs a tool (converter, quantiser, llama.cpp) in a process of its own: little environment, prompt cancelling."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from worker.child import Child

#: Passed on; everything else (tokens above all) stays here.
_PASSED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "TZ", "OMP_WAIT_POLICY", "CI")
_ROOT = Path(__file__).resolve().parents[2]
_TAIL_LINES = 400
_LOOK_SECONDS = 0.05
_TELL_SECONDS = 0.25


class ToolFailed(Exception):
    """The tool ended with `code` (negative: the signal that ended it); `output` is the end of what it printed."""

    def __init__(self, code: int, output: str) -> None:
        super().__init__(f"exit code {code}")
        self.code = code
        self.output = output


class Progress:
    """Phase lines with numbers, at most four a second, from any thread."""

    def __init__(self, child: Child, phase: str, unit: str = "", detail: str = "") -> None:
        self._child, self._phase, self._unit, self._detail = child, phase, unit, detail
        self._told = 0.0

    def to(self, done: float, total: float | None) -> None:
        """Now at `done` of `total`; the last value is always told."""
        now = time.monotonic()
        if now - self._told >= _TELL_SECONDS or done == total:
            self._told = now
            self._child.events.phase(self._phase, done, total, self._unit, self._detail)


def command(module: str, *args: str | Path) -> list[str]:
    """Command line of one of our own modules (`-P`: the working directory is not searched for modules)."""
    return [sys.executable, "-P", "-m", module, *(str(a) for a in args)]


def scratch(child: Child) -> Path:
    """A folder for what tools leave behind; `export` removes it at the end."""
    folder = child.job_dir / "scratch"
    folder.mkdir(exist_ok=True)
    return folder


def environment(folder: Path, threads: int, path: tuple[Path, ...] = ()) -> dict[str, str]:
    """What a tool sees: no secret, no network for Hugging Face libraries, its caches under `folder`."""
    env = {name: os.environ[name] for name in _PASSED if name in os.environ}
    env |= {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(max(1, threads)),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(str(p) for p in (*path, _ROOT)),
    }
    return env


def run(
    child: Child,
    argv: list[str],
    *,
    env: dict[str, str],
    cwd: Path,
    on_line: Callable[[str], None] | None = None,
) -> str:
    """Run `argv` to its end and give back what it printed last. Raises `ToolFailed`, or `Stopped` within 0.1 s."""
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    proc = subprocess.Popen(
        argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    reader = threading.Thread(target=_read, args=(proc, tail, on_line), daemon=True)
    reader.start()
    try:
        _wait(child, proc)
    finally:
        if proc.poll() is None:
            proc.kill()
            proc.wait()
        reader.join(timeout=5)
    output = "\n".join(tail)
    if proc.returncode:
        raise ToolFailed(proc.returncode, output)
    return output


def _wait(child: Child, proc: subprocess.Popen[bytes]) -> None:
    while proc.poll() is None:
        child.stop_point()
        try:
            proc.wait(timeout=_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            continue


def _read(proc: subprocess.Popen[bytes], tail: deque[str], on_line: Callable[[str], None] | None) -> None:
    """Lines end at a newline or, in progress bars, at a carriage return."""
    assert proc.stdout is not None
    rest = b""
    while chunk := proc.stdout.read1(65536):  # type: ignore[attr-defined]
        *lines, rest = re.split(rb"[\r\n]", rest + chunk)
        for line in lines:
            _take(line, tail, on_line)
    _take(rest, tail, on_line)
    proc.stdout.close()


def _take(raw: bytes, tail: deque[str], on_line: Callable[[str], None] | None) -> None:
    line = raw.decode("utf-8", "replace").rstrip()
    if line:
        tail.append(line)
        if on_line is not None:
            on_line(line)
