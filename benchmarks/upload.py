"""Upload of one large file to a real web process, in parts and in one form: megabytes a second, and its memory.

`preview`: from the last byte to the page that shows the first rows.

Beside it the floor: the same bytes written to a file and hashed in this process.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import psutil

from benchmarks.web_start import free_port

MEGABYTES = int(os.environ.get("MB", "1000"))
PART = 16 << 20
_JSON = {"accept": "application/json"}
_BOUNDARY = "b0undary"


def _piece(seed: int) -> bytes:
    """A megabyte of rows that are no other's."""
    turns = [{"role": "user", "content": f"{seed} " + "why " * 50}, {"role": "assistant", "content": "Because."}]
    row = json.dumps({"messages": turns}).encode() + b"\n"
    return (row * (1_000_000 // len(row) + 1))[: 1_000_000 - 1] + b"\n"


def _floor(folder: Path) -> float:
    digest, begun = hashlib.sha256(), time.perf_counter()
    with (folder / "floor").open("wb") as out:
        for number in range(MEGABYTES):
            out.write(piece := _piece(number))
            digest.update(piece)
    (folder / "floor").unlink()
    return time.perf_counter() - begun


class _Server:
    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        # A list of its own: this one runs without a broker, whose absence it writes to the log.
        own = {"TUNEDECK_DATA_DIR": str(folder / "data"), "TUNEDECK_WEB__PORT": str(self.port)}
        env = {name: value for name, value in os.environ.items() if not name.startswith("TUNEDECK_")} | own
        subprocess.run([sys.executable, "-m", "app.cli", "db", "upgrade"], env=env, check=True)
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen([sys.executable, "-m", "app.serve"], env=env, stdout=quiet, stderr=quiet)
        while not self._answers():
            time.sleep(0.1)
        self.call("GET", "/datasets/new")  # what a first page loads is no upload's

    def _answers(self) -> bool:
        try:
            self.call("GET", "/healthz")
        except OSError:
            return False
        return True

    def memory(self) -> tuple[float, float]:
        """Megabytes now, and at most so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        most = int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
        return psutil.Process(self.process.pid).memory_info().rss / 1e6, most

    def call(self, method: str, path: str, body: object = None, **headers: str) -> dict[str, object]:
        """The JSON that is answered."""
        said = self._ask(method, path, body, _JSON | headers)
        return dict(json.loads(said)) if said.startswith(b"{") else {}

    def page(self, path: str) -> bytes:
        """As a browser gets it."""
        return self._ask("GET", path, None, {"accept": "text/html"})

    def _ask(self, method: str, path: str, body: object, headers: dict[str, str]) -> bytes:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        link.request(method, path, body, headers=headers)  # type: ignore[arg-type]  # bytes or an iterator
        answer = link.getresponse()
        said = answer.read()
        link.close()
        if answer.status >= http.client.BAD_REQUEST:
            raise RuntimeError(f"{path}: {answer.status} {said!r}")
        return said

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def _in_parts(server: _Server) -> float:
    """Seconds from the last byte to the page with its first rows."""
    size = MEGABYTES * 1_000_000
    form = urlencode({"filename": "parts.jsonl", "size": size, "modified": 1})
    kind = {"content-type": "application/x-www-form-urlencoded"}
    here = f"/datasets/uploads/{server.call('POST', '/datasets/uploads', form, **kind)['id']}"
    for first in range(0, MEGABYTES, PART >> 20):
        pieces = b"".join(_piece(number) for number in range(first, min(MEGABYTES, first + (PART >> 20))))
        server.call("PATCH", f"{here}?offset={first * 1_000_000}", pieces)
    return _seconds_to_page(server, lambda: server.call("POST", f"{here}/finish"))


def _seconds_to_page(server: _Server, last: Callable[[], dict[str, object]]) -> float:
    begun = time.perf_counter()
    page = server.page(str(last()["location"]))
    if b"Because." not in page:
        raise RuntimeError("The page shows no row.")
    return time.perf_counter() - begun


def _in_one_form(server: _Server) -> float:
    """Likewise."""
    whole: list[float] = []

    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="one.jsonl"\r\n\r\n'.encode()
    tail = f"\r\n--{_BOUNDARY}--\r\n".encode()

    def body() -> Iterator[bytes]:
        yield head
        for number in range(1, MEGABYTES + 1):
            yield _piece(number)
        whole.append(time.perf_counter())
        yield tail

    length = str(len(head) + MEGABYTES * 1_000_000 + len(tail))
    kind = f"multipart/form-data; boundary={_BOUNDARY}"
    made = server.call("POST", "/datasets", body(), **{"content-type": kind, "content-length": length})
    server.page(str(made["location"]))
    return time.perf_counter() - whole[0]


def main() -> None:
    """Print the table."""
    print(f"{MEGABYTES} MB; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':32}{'speed':>14}{'before':>10}{'at most':>10}{'ratio':>9}{'preview':>10}")
    with tempfile.TemporaryDirectory() as name:
        floor = _floor(Path(name))
        print(f"{'written and hashed, no server':32}{MEGABYTES / floor:>9.0f} MB/s{'':>29}")
        server = _Server(Path(name))
        try:
            for label, send in (("in parts of 16 MB", _in_parts), ("in one form", _in_one_form)):
                before, begun = server.memory()[0], time.perf_counter()
                preview = send(server)
                seconds = time.perf_counter() - begun
                most = server.memory()[1]
                said = f"{MEGABYTES / seconds:>9.0f} MB/s{before:>7.0f} MB{most:>7.0f} MB"
                print(f"{label:32}{said}{floor / seconds:>8.2f}×{preview:>8.2f} s", flush=True)
        finally:
            server.stop()
