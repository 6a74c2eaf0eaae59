"""A child that has left the network reaches nobody, by no way that is known, and nothing else is taken from it."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.core.context import Context
from tests.worker.test_intake_job import GOOD, lines, upload
from tests.worker.test_training_job import job_of, launch, trainer_of, when_at_step
from worker.process import child_env
from worker.runner import Runner
from worker.seclusion import SECLUDE_ENV
from worker.standby import StandBy
from worker.trainer.protocol import Log, parse

PROBE = Path(__file__).with_name("secluded.py")
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in {"x86_64", "aarch64"}, reason="the filter is Linux's"
)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Somebody listens on a loopback port, and on a Unix socket in the test's folder."""
    with socket.socket(socket.AF_UNIX) as near, socket.create_server(("127.0.0.1", 0)) as far:
        near.bind(str(tmp_path / "unix.sock"))
        near.listen()
        yield far.getsockname()[1]


def looked(folder: Path, port: int, **env: str) -> dict[str, Any]:
    """What the probe saw before and after."""
    command = [sys.executable, "-P", str(PROBE), str(folder), str(port)]
    root = Path(__file__).resolve().parents[2]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(root), **env}, check=True, timeout=120)
    found: dict[str, Any] = json.loads((folder / "seen.json").read_text())
    return found


def test_every_way_out_is_shut_and_what_stays_here_works(tmp_path: Path, port: int) -> None:
    seen = looked(tmp_path, port, **{SECLUDE_ENV: "1"})
    assert seen["before"] == {"tcp": "worked", "unix": "worked"}
    after = seen["after"]
    inside = {name: after.pop(name) for name in ("unix", "pair", "netlink")}
    assert set(inside.values()) == {"worked"}
    assert "worked" not in after.values(), after
    assert after["tcp"] == after["udp"] == after["raw"] == after["old thread"] == "PermissionError"
    said = [event for event in map(parse, (tmp_path / "events.jsonl").read_bytes().splitlines())]
    assert not any(isinstance(event, Log) for event in said)


def test_by_hand_and_switched_off_the_network_stays(tmp_path: Path, port: int, ctx: Context) -> None:
    assert looked(tmp_path, port)["after"]["tcp"] == "worked"
    assert SECLUDE_ENV in child_env(ctx.settings)
    ctx.settings.worker.fence_network = False
    assert SECLUDE_ENV not in child_env(ctx.settings)


def test_a_kernel_that_refuses_is_named_once_and_the_job_goes_on(tmp_path: Path, port: int) -> None:
    """Another thread with a filter of its own: the kernel then takes none for all threads."""
    script = PROBE.read_text().replace("    child.seclude()", "    _other_filter()\n    child.seclude()")
    (tmp_path / "probe.py").write_text(script.replace("if __name__", _OTHER_FILTER + "\n\nif __name__"))
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), SECLUDE_ENV: "1"}
    command = [sys.executable, "-P", str(tmp_path / "probe.py"), str(tmp_path), str(port)]
    subprocess.run(command, env=env, check=True, timeout=120)
    assert json.loads((tmp_path / "seen.json").read_text())["after"]["tcp"] == "worked"
    said = [event for event in map(parse, (tmp_path / "events.jsonl").read_bytes().splitlines())]
    logs = [event.message for event in said if isinstance(event, Log)]
    assert len(logs) == 1
    assert "could not be shut off" in logs[0]


_OTHER_FILTER = """
def _other_filter():
    from worker import seclusion

    libc = ctypes.CDLL(None, use_errno=True)
    machine = seclusion._MACHINES[os.uname().machine]
    allow = (seclusion._Step * 1)(seclusion._Step(6, 0, 0, 0x7FFF0000))
    program = seclusion._Program(1, allow)
    hold, there = threading.Event(), threading.Event()

    def one():
        libc.prctl(38, 1, 0, 0, 0)
        assert libc.syscall(machine.seccomp, 1, 0, ctypes.byref(program)) == 0
        there.set()
        hold.wait(60)

    threading.Thread(target=one, daemon=True).start()
    there.wait(20)

"""


def filters(process: psutil.Process) -> set[str]:
    """What the kernel says of every thread of a process: 2 is a filter."""
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    states = [(task / "status").read_text().splitlines() for task in tasks]
    return {line.split()[1] for state in states for line in state if line.startswith("Seccomp:")}


@pytest.mark.slow
@pytest.mark.parametrize("warm", [False, True])
def test_a_training_has_left_the_network_when_it_trains(ctx: Context, tiny_model: Path, warm: bool) -> None:
    standby = StandBy(ctx.settings) if warm else None
    if standby:
        ctx.settings.worker.standby = True
        standby.warm()
        while standby._waiting is None:
            threading.Event().wait(0.05)
    job_id, seen = launch(ctx, tiny_model), set[str]()

    def look() -> None:
        mine = [p for p in psutil.Process().children(recursive=True) if "worker.trainer" in p.cmdline()]
        seen.update(*map(filters, mine if warm else [trainer_of(job_id)]))

    watching = when_at_step(ctx, job_id, 1, look)
    Runner(ctx, "w", "gpu", standby=standby).run_waiting()
    watching.join(20)
    assert job_of(ctx, job_id).state == "succeeded", job_of(ctx, job_id).error
    assert seen == {"2"}


def test_an_intake_never_needs_it(ctx: Context) -> None:
    upload(ctx, lines(*[GOOD] * 20))
    Runner(ctx, "w", "light").run_waiting()
    assert job_of(ctx, 1).state == "succeeded"
