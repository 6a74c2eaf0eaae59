"""Several processes for one training, one for each GPU (or, by hand, several on the CPU).

Rank 0 is the trainer that the runner started: it alone speaks, listens and answers. The others are its children; they
load the same model, train along through torch.distributed, and end with it. Before `others` and with one process
everything here does nothing.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from app.core.process import die_with_parent
from worker.child import LEASE_ENV, Child, Explain, as_error, end_group
from worker.trainer.protocol import Control, Emitter, Error

#: What marks the command line of another rank; its number follows, then the job folder.
RANK = "--rank"
#: One rank may wait this long for the others: rank 0 answers questions meanwhile, and dead ones are seen at once.
PATIENCE = timedelta(days=1)
_LOOK_SECONDS = 0.2


def rank() -> int:
    """Number of this process among those of the job; 0 when it is the only one."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def others(child: Child, count: int) -> Iterator[None]:
    """While open, `count` - 1 other ranks run beside this one. A rank that fails ends the whole group."""
    if count == 1 or rank() > 0:
        yield
        return
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(count)}
    os.environ |= shared | _place(0)
    helpers = [_start(child.job_dir, shared | _place(number)) for number in range(1, count)]
    threading.Thread(target=_watch, args=(helpers,), daemon=True).start()
    try:
        yield
    except BaseException:
        if any(helper.poll() for helper in helpers):
            end_group()  # a rank that failed first has told why; what followed here says nothing
        raise
    finally:
        for helper in helpers:
            helper.kill()
            helper.wait()


def _place(number: int) -> dict[str, str]:
    return {"RANK": str(number), "LOCAL_RANK": str(number)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(job_dir: Path, variables: dict[str, str]) -> subprocess.Popen[bytes]:
    env = {name: value for name, value in os.environ.items() if name != LEASE_ENV} | variables
    command = [sys.executable, "-P", "-m", "worker.trainer", RANK, variables["RANK"], str(job_dir)]
    return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL)


def _watch(helpers: list[subprocess.Popen[bytes]]) -> None:
    """A rank that fails leaves the others waiting for it for ever: end them all."""
    while not any(helper.poll() for helper in helpers):
        time.sleep(_LOOK_SECONDS)
    time.sleep(_LOOK_SECONDS)  # rank 0 may be ending by itself, and kill the helpers in the course of it
    end_group()


class _Silent(Emitter):
    """Another rank says nothing, but why it failed."""

    def emit(self, event: object) -> None:
        if isinstance(event, Error):
            super().emit(event)


def helper_child(job_dir: Path) -> Child:
    """What the body gets in another rank: it hears no orders, and only its failure is told."""
    die_with_parent(signal.SIGKILL)
    return Child(job_dir, _Silent(job_dir), Control(job_dir / "unheard"), {})


def tell_failure(child: Child, exc: BaseException, explain: Explain) -> None:
    """Why this rank can't go on."""
    child.events.emit(as_error(exc, explain, {}))


def first_says(value: int) -> int:
    """What rank 0 passed, in every rank."""
    if world_size() == 1:
        return value
    from torch import distributed

    said = [value]
    distributed.broadcast_object_list(said, src=0)
    return said[0]


def total(value: int) -> int:
    """The sum over all ranks."""
    if world_size() == 1:
        return value
    import torch
    from torch import distributed

    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    summed = torch.tensor(value, device=device)
    distributed.all_reduce(summed)
    return int(summed.item())


def wait_for_all() -> None:
    """Returns when every rank has come here."""
    first_says(0)
    total(0)


def know_numbered_cpus() -> None:
    """Among several processes without a GPU the trainer loads its state to "cpu:0", which torch has no name for."""
    from torch import serialization

    serialization.register_package(
        0, lambda _: None, lambda storage, place: storage if place.startswith("cpu:") else None
    )
