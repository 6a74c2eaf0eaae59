"""Stands in for `python -m worker.trainer JOB_DIR`: takes memory or disk as a variable says, and waits."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

from worker.child import Child, run

_MB = 1_000_000
WISH = os.environ["NCCL_WISH"]  # the one prefix of variables that reaches a child


def _memory(child: Child) -> None:
    held = bytearray(400 * _MB)
    for at in range(0, len(held), 4096):
        held[at] = 1
    time.sleep(60)


def _memory_below(child: Child) -> None:
    code = "import time; held = bytearray(b'x') * 400_000_000; time.sleep(60)"
    subprocess.run([sys.executable, "-c", code], check=False)


def _mapped(child: Child) -> None:
    """Only read through the page cache, as weights are: nothing that would be missed."""
    file = child.job_dir / "weights"
    with file.open("wb") as out:
        for _ in range(40):
            out.write(os.urandom(10 * _MB))
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as view:
        sum(view[at] for at in range(0, len(view), 4096))
        time.sleep(4)


def _reserved(child: Child) -> None:
    """As CUDA does it: terabytes of address space, nothing of it used."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    anonymous = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE
    size = ctypes.c_size_t(2 << 40)
    assert libc.mmap(None, size, 0, anonymous, -1, ctypes.c_long(0)) != ctypes.c_void_p(-1).value
    time.sleep(3)


def _many_files(child: Child) -> None:
    for number in range(40):
        (child.job_dir / f"file-{number}").write_bytes(os.urandom(5 * _MB))
        time.sleep(0.1)
    time.sleep(60)


def _one_file(child: Child) -> None:
    with (child.job_dir / "file").open("wb") as out:
        while True:
            out.write(bytes(_MB))


def _ends_well(child: Child) -> None:
    (child.job_dir / "limits").write_text(Path("/proc/self/limits").read_text())
    (child.job_dir / "oom").write_text(Path("/proc/self/oom_score_adj").read_text())


if __name__ == "__main__":
    Path(sys.argv[1], "pid").write_text(str(os.getpid()))
    sys.exit(run(globals()[f"_{WISH}"]))
