"""The frame around every child: `python -m worker.trainer DIR`, and likewise intake, audit and export.

It reads the secrets line, keeps the lifeline to the runner, turns an exception into an `error` line and the exit code.
By hand (no runner) the lifeline is off and a terminal's Ctrl-C is a request to cancel.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from app.core.process import die_with_parent, limit_this_process
from worker.masking import hide, install, mask
from worker.seclusion import SECLUDE_ENV, leave_network
from worker.trainer.protocol import Control, ControlAction, Done, Emitter, Error, ErrorClass, write_control

#: Set by the runner: seconds of lease the child may live without a renewal on its stdin.
LEASE_ENV = "TUNEDECK_LEASE_SECONDS"
#: Set by the runner: bytes that no file of the child may grow beyond.
LARGEST_FILE_ENV = "TUNEDECK_LARGEST_FILE"


class JobError(Exception):
    """A failure that a person can act on: a class, a sentence, and what to change."""

    def __init__(self, error_class: ErrorClass, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.error_class: ErrorClass = error_class
        self.message = message
        self.advice = advice


class Stopped(Exception):
    """Raised at a safe point because control asked for it."""

    def __init__(self, action: ControlAction) -> None:
        super().__init__(action)
        self.action: ControlAction = action


class Child:
    """What the body of a child gets: its folder, its events, its orders, its secrets."""

    def __init__(self, job_dir: Path, events: Emitter, control: Control, secrets: dict[str, str]) -> None:
        self.job_dir = job_dir
        self.events = events
        self.control = control
        self.secrets = secrets
        #: The step at which the body stands, for whoever watches beside it.
        self.step = 0
        self._go = threading.Event()
        self._go.set()

    def stop_point(self) -> None:
        """Leave here if the run was cancelled or is to stop; wait here while the lease is in doubt."""
        self._go.wait()
        action = self.control.asked()
        if action in ("pause", "cancel", "drain"):
            raise Stopped(action)

    def hold(self) -> None:
        """Stand still at the next stop point: the runner has been silent for half a lease."""
        self._go.clear()

    def go_on(self) -> None:
        """The runner is back."""
        self._go.set()

    def seclude(self) -> None:
        """All is fetched: from here on neither this process nor what it starts reaches a network, where that can be.

        By hand, and where the worker's settings say so, the network stays.
        """
        if not os.environ.get(SECLUDE_ENV):
            return
        _stay_offline()
        why_not = leave_network()
        if why_not:
            self.events.log(f"The network could not be shut off for this job: {why_not}. It goes on with it.")


Explain = Callable[[BaseException], JobError | None]


def run(body: Callable[[Child], None], explain: Explain | None = None) -> int:
    """Run `body` for the job folder in `sys.argv[1]`; the exit code is 0 only after a `done` line."""
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        print("usage: python -m worker.<kind> JOB_DIR", file=sys.stderr)
        return 2
    job_dir = Path(sys.argv[1]).resolve()
    by_hand = LEASE_ENV not in os.environ
    install()
    secrets = {} if by_hand else json.loads(sys.stdin.readline() or "{}")
    hide(secrets.values())
    child = Child(job_dir, Emitter(job_dir, sys.stdout if by_hand else None), Control(job_dir), secrets)
    signal.signal(signal.SIGTERM, lambda *_: _ask(job_dir, "cancel"))
    if by_hand:
        signal.signal(signal.SIGINT, lambda *_: _ask(job_dir, "cancel"))
    else:
        die_with_parent(signal.SIGKILL)
        limit_this_process(int(os.environ.get(LARGEST_FILE_ENV, "0")))
        threading.Thread(target=_watch, args=(child, sys.stdin), daemon=True).start()
    return _guarded(body, child, explain)


def _guarded(body: Callable[[Child], None], child: Child, explain: Explain | None) -> int:
    try:
        body(child)
        child.events.emit(Done())
    except Stopped as stop:
        outcomes = {"pause": "paused", "cancel": "cancelled", "drain": "drained"}
        child.events.emit(Done.model_validate({"outcome": outcomes[stop.action]}))
    except BaseException as exc:  # noqa: BLE001 - whatever it was, the person is told
        child.events.emit(as_error(exc, explain, child.secrets))
        traceback.print_exc()
        return 1
    return 0


def as_error(exc: BaseException, explain: Explain | None, secrets: dict[str, str]) -> Error:
    """The `error` line of an exception, with every secret masked."""
    known = exc if isinstance(exc, JobError) else (explain(exc) if explain else None) or _beyond_limit(exc)
    if known is None:
        known = JobError(
            "bug",
            f"{type(exc).__name__}: {exc}"[:2000],
            "This looks like a fault in Tunedeck; the details below help to mend it.",
        )
    text = "".join(traceback.format_exception(exc))[-20_000:]
    return Error(
        error_class=known.error_class,
        message=mask(known.message, secrets.values()),
        advice=mask(known.advice, secrets.values()),
        traceback=mask(text, secrets.values()),
    )


def _beyond_limit(exc: BaseException) -> JobError | None:
    """The kernel let no file grow further; some libraries pass on its words alone."""
    if os.strerror(errno.EFBIG) not in str(exc):
        return None
    return JobError(
        "disk_full",
        "A file of this job grew beyond what a job may write on this worker.",
        "Choose a smaller model, or raise the limit on the worker (TUNEDECK_WORKER__CHILD_DISK_GB).",
    )


def _stay_offline() -> None:
    """The Hub's library, loaded or not, is told: else it would try for minutes."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    loaded = sys.modules.get("huggingface_hub.constants")
    if loaded is not None:
        loaded.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]  # it reads the variable at import only


def _ask(job_dir: Path, action: ControlAction) -> None:
    if Control(job_dir).asked() is None:
        write_control(job_dir, action)


def _watch(child: Child, pipe: IO[str]) -> None:
    """Renewals come down stdin. Silence for half a lease: stand still. For 5/6, or a closed pipe: end the group."""
    lease = float(os.environ[LEASE_ENV])
    heard = [time.monotonic()]
    threading.Thread(target=_listen, args=(pipe, heard), daemon=True).start()
    while True:
        time.sleep(lease / 60)
        silent = time.monotonic() - heard[0]
        if silent > lease * 5 / 6:
            end_group()
        elif silent > lease / 2:
            child.hold()
        else:
            child.go_on()


def _listen(pipe: IO[str], heard: list[float]) -> None:
    for line in pipe:
        heard[0] = _said_at(line)
    heard[0] = float("-inf")  # the runner is gone


def _said_at(line: str) -> float:
    """A process that was frozen finds renewals in its pipe that are long out of date; both read the same clock."""
    return float(line) if line.strip() else time.monotonic()


def end_group() -> None:
    """SIGKILL this process and everything it started, if it leads its own group."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(137)


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Some libraries litter the working directory: give them the job's own."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
