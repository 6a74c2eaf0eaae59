"""What the operating system is asked for about a process."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

#: Set by the supervisor for the processes it starts: its process id.
SUPERVISED_ENV = "TUNEDECK_SUPERVISED"
_PR_SET_PDEATHSIG = 1


def die_with_parent(number: signal.Signals) -> None:
    """On Linux, have the kernel send `number` to this process when its parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)


def end_with_supervisor() -> None:
    """A part of `tunedeck up` ends, in its own time, when the supervisor was killed."""
    supervisor = os.environ.get(SUPERVISED_ENV)
    if not supervisor:
        return
    die_with_parent(signal.SIGTERM)
    if os.getppid() != int(supervisor):  # it died before the kernel was asked
        sys.exit(0)
