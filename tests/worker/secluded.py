"""A child of the runner that looks round before and after it has left the network: `secluded.py JOB_DIR PORT`.

It writes what worked to `seen.json`. `FOLDER/unix.sock` and 127.0.0.1:PORT listen.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker.child import Child, run

_CONNECT = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)"
_IO_URING_SETUP, _PTRACE = 425, {"x86_64": 101, "aarch64": 117}
PORT = int(sys.argv.pop())


def _try(act: Callable[[], object]) -> str:
    try:
        act()
    except OSError as exc:
        return type(exc).__name__
    except subprocess.CalledProcessError:
        return "failed"
    return "worked"


def _open(family: int, kind: int) -> socket.socket:
    with socket.socket(family, kind) as one:
        return one


def _in_thread(go: threading.Event, out: dict[str, str]) -> threading.Thread:
    def look() -> None:
        go.wait(20)
        out["old thread"] = _try(_connect)

    thread = threading.Thread(target=look)
    thread.start()
    return thread


def _connect() -> None:
    socket.create_connection(("127.0.0.1", PORT), 5).close()


def _call(number: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, 1, 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _unix(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(str(folder / "unix.sock"))


def _look(folder: Path, opened: socket.socket) -> dict[str, str]:
    return {
        "tcp": _try(_connect),
        "tcp6": _try(lambda: _open(socket.AF_INET6, socket.SOCK_STREAM)),
        "udp": _try(lambda: _open(socket.AF_INET, socket.SOCK_DGRAM)),
        "raw": _try(lambda: _open(socket.AF_PACKET, socket.SOCK_RAW)),
        "name": _try(lambda: socket.getaddrinfo("example.invalid", 80)),
        "in a child": _try(lambda: subprocess.run([sys.executable, "-c", _CONNECT, str(PORT)], check=True)),
        "opened before": _try(lambda: opened.send(b"x")),
        "io_uring": _try(lambda: _call(_IO_URING_SETUP)),
        "ptrace": _try(lambda: _call(_PTRACE[os.uname().machine])),
        "unix": _try(lambda: _unix(folder)),
        "pair": _try(lambda: [end.detach() for end in socket.socketpair()]),
        "netlink": _try(lambda: _open(socket.AF_NETLINK, socket.SOCK_RAW)),
    }


def _body(child: Child) -> None:
    go, seen, late = threading.Event(), dict[str, Any](), dict[str, str]()
    thread = _in_thread(go, late)
    opened = socket.create_connection(("127.0.0.1", PORT), 5)
    seen["before"] = {"tcp": _try(_connect), "unix": _try(lambda: _unix(child.job_dir))}
    child.seclude()
    go.set()
    thread.join()
    seen["after"] = _look(child.job_dir, opened) | late
    (child.job_dir / "seen.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    sys.exit(run(_body))
