"""A child process of the runner: started in its own group, woken by a pipe, kept by renewals, ended in three steps."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from app.core.settings import Settings
from app.domain.jobs.states import JobKind
from worker.child import LARGEST_FILE_ENV, LEASE_ENV
from worker.seclusion import SECLUDE_ENV
from worker.trainer.protocol import BELL_ENV, OUTPUT_FILE, ControlAction, write_control

_NICER = 10
MODULES = {
    JobKind.TRAIN: "worker.trainer",
    JobKind.INTAKE: "worker.intake",
    JobKind.AUDIT: "worker.audit",
    JobKind.EXPORT: "worker.export",
    JobKind.PUSH: "worker.export",
}
#: What a child may see of the runner's environment; nothing else, above all no database address and no key.
_PASSED = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "USER", "LD_LIBRARY_PATH", "LD_PRELOAD",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_HOME", "NVIDIA_VISIBLE_DEVICES", "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONWARNINGS",
)  # fmt: skip
_PASSED_PREFIXES = ("UNSLOTH_", "NCCL_", "OPENBLAS_")


def child_env(settings: Settings) -> dict[str, str]:
    """The child's environment: a short list of the runner's variables, the Hub's address, and quiet libraries."""
    env = {k: v for k, v in os.environ.items() if k in _PASSED or k.startswith(_PASSED_PREFIXES)}
    env |= {
        "HF_ENDPOINT": settings.hub.endpoint,
        "HF_HOME": str(settings.root / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        LEASE_ENV: str(settings.worker.lease_seconds),
    }
    if settings.worker.child_disk_gb:
        env[LARGEST_FILE_ENV] = str(int(settings.worker.child_disk_gb * 1_000_000_000))
    if settings.worker.fence_network:
        env[SECLUDE_ENV] = "1"
    if settings.hub.offline:
        env["HF_HUB_OFFLINE"] = "1"
    if settings.hub.disable_xet:
        env["HF_HUB_DISABLE_XET"] = "1"
    return env


class Spawned:
    """A process of ours in a group of its own: its stdin, and the pipe through which it wakes us."""

    def __init__(self, arguments: Sequence[str], settings: Settings, cwd: Path, output: Path) -> None:
        self.bell, child_end = os.pipe()
        os.set_blocking(self.bell, False)
        os.set_blocking(child_end, False)
        try:
            with output.open("ab") as file:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-m", *arguments],
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=file,
                    env=child_env(settings) | {BELL_ENV: str(child_end)},
                    cwd=cwd,
                    start_new_session=True,
                    pass_fds=(child_end,),
                )
        except BaseException:
            os.close(self.bell)
            raise
        finally:
            os.close(child_end)

    def say(self, line: str) -> None:
        """One line down its stdin."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it is ending; its exit code tells the rest

    def signal(self, number: signal.Signals) -> None:
        """To the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def close(self) -> None:
        """Make sure that nothing of it lives on, and let go of the pipes."""
        self.signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        os.close(self.bell)


class ChildProcess:
    """One run of `python -m worker.<kind> JOB_DIR`; `ready`: a stand-by that is to be it."""

    def __init__(
        self, kind: JobKind, job_dir: Path, settings: Settings, secrets: dict[str, str], ready: Spawned | None = None
    ) -> None:
        self._dir = job_dir
        self._settings = settings.worker
        self._asked_at: float | None = None
        self._asked: ControlAction | None = None
        self._terminated = False
        self._own = ready or Spawned([MODULES[kind], str(job_dir)], settings, job_dir, job_dir / OUTPUT_FILE)
        if ready:
            self._own.say(json.dumps({"job_dir": str(job_dir)}))
        if kind != JobKind.TRAIN:  # a training beside it goes first
            os.setpriority(os.PRIO_PROCESS, self.pid, os.getpriority(os.PRIO_PROCESS, 0) + _NICER)
        self._own.say(json.dumps(secrets))

    @property
    def pid(self) -> int:
        """Process id, which is also the group's."""
        return self._own.process.pid

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._own.process.poll()

    def wait_for_news(self, seconds: float) -> bool:
        """Sleep until the child has written something, at most `seconds`."""
        ready, _, _ = select.select([self._own.bell], [], [], seconds)
        if not ready:
            return False
        try:
            return bool(os.read(self._own.bell, 65_536))
        except BlockingIOError:
            return False

    def renew(self) -> None:
        """Tell the child that its lease goes on, and when this was said: it may be read much later."""
        self._own.say(repr(time.monotonic()))

    def ask(self, action: ControlAction) -> None:
        """Step one of stopping: the flag. A stronger wish replaces a weaker one."""
        if self._asked in (action, "cancel"):
            return
        write_control(self._dir, action)
        self._asked, self._asked_at, self._terminated = action, time.monotonic(), False

    def escalate(self) -> None:
        """Steps two and three, when the child did not leave in time: SIGTERM, then SIGKILL to its group."""
        if self._asked_at is None:
            return
        grace = self._settings.stop_seconds if self._asked == "cancel" else self._settings.drain_seconds
        waited = time.monotonic() - self._asked_at
        if waited > grace + self._settings.kill_seconds:
            self.kill()
        elif waited > grace and not self._terminated:
            self._terminated = True
            self._own.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the whole group now."""
        self._own.signal(signal.SIGKILL)

    def close(self) -> None:
        """Make sure that nothing of it lives on, and let go of the pipes."""
        self._own.close()

    def last_output(self, lines: int = 50) -> str:
        """The end of what it printed."""
        path = self._dir / OUTPUT_FILE
        path.touch()  # a stand-by that died at once wrote nothing here
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 20_000))
            text = file.read().decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])
