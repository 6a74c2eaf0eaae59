"""What the operating system is asked for about a process."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Set by the supervisor for the processes it starts: its process id.
SUPERVISED_ENV = "TUNEDECK_SUPERVISED"
_PR_SET_PDEATHSIG = 1


def die_with_parent(number: signal.Signals) -> None:
    """On Linux, have the kernel send `number` to this process when its parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)


def limit_this_process(largest_file: int = 0) -> None:
    """For good, and for what it starts: no core dump, no file above `largest_file` bytes (0: any size).

    On Linux it is also the first to be ended when memory runs out: sooner than the worker, the database or a desktop.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


@contextmanager
def loading() -> Iterator[None]:
    """While large libraries are imported: the million objects they make stay, and are not walked over and over.

    With torch, transformers and TRL that is a second of six, and afterwards every full collection is short.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def end_with_supervisor() -> None:
    """A part of `tunedeck up` ends, in its own time, when the supervisor was killed."""
    supervisor = os.environ.get(SUPERVISED_ENV)
    if not supervisor:
        return
    die_with_parent(signal.SIGTERM)
    if os.getppid() != int(supervisor):  # it died before the kernel was asked
        sys.exit(0)
