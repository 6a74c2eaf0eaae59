"""A real Caddy, with the Caddyfile that is shipped, before two real web processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from app.core.context import Context
from app.core.live import CHANNEL
from tests import services

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 120.0


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def wait_until_it_answers(url: str) -> None:
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            if httpx.get(url, timeout=10).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < until, f"{url} does not answer"
        time.sleep(0.1)


class House:
    """Caddy and two web processes on free ports."""

    def __init__(self, ctx: Context, folder: Path) -> None:
        caddy = services.needed(shutil.which("caddy"), "Caddy")
        self.redis_url = services.needed(services.redis_url(), "Redis")
        front, *ports = free_ports(3)
        self.base = f"http://127.0.0.1:{front}"
        text = (ROOT / "Caddyfile").read_text(encoding="utf-8")
        for shipped, free in zip(("8642", "8643", "8000"), (*ports, front), strict=True):
            text = text.replace(f":{shipped}", f":{free}")
        (folder / "Caddyfile").write_text(text)
        env = {"TUNEDECK_DATA_DIR": str(ctx.settings.root), "REDIS_URL": self.redis_url, "XDG_DATA_HOME": str(folder)}
        self.env = dict(os.environ) | env
        self.processes = [self._start([sys.executable, "-P", "-m", "app.serve"], port) for port in ports]
        for port in ports:
            wait_until_it_answers(f"http://127.0.0.1:{port}/readyz")
        command = [caddy, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
        self.processes.append(self._start(command, 0))
        wait_until_it_answers(f"{self.base}/readyz")

    def _start(self, command: list[str], port: int) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, env=self.env | {"TUNEDECK_WEB__PORT": str(port)}, stdout=quiet, stderr=quiet)

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(timeout=60)


@pytest.fixture
def house(ctx: Context, tmp_path: Path) -> Iterator[House]:
    made = House(ctx, tmp_path)
    yield made
    made.stop()


@pytest.mark.slow
def test_streams_flow_and_a_lost_web_process_is_not_missed(house: House) -> None:
    with httpx.stream("GET", f"{house.base}/changed", timeout=_PATIENCE) as stream:
        lines = stream.iter_lines()
        assert "event: changed" in lines, "the first hint comes at once, not when a buffer is full"
        with redis.Redis.from_url(house.redis_url) as bell:
            bell.publish(CHANNEL, 1)
        assert "event: changed" in lines, "so does the next"
    victim = house.processes[0]
    victim.send_signal(signal.SIGKILL)
    victim.wait(timeout=60)
    answers = [httpx.get(f"{house.base}/jobs", timeout=_PATIENCE).status_code for _ in range(20)]
    assert set(answers) == {200}
    with httpx.stream("GET", f"{house.base}/changed", timeout=_PATIENCE) as stream:
        assert "event: changed" in stream.iter_lines()


@pytest.mark.slow
def test_an_upload_reaches_the_disk_while_it_is_being_sent(house: House, ctx: Context) -> None:
    """A proxy that buffers would hold the body back until its end."""
    line = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    seen: list[int] = []

    def body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
        yield line * 20_000
        until = time.monotonic() + _PATIENCE
        while not seen and time.monotonic() < until:
            seen.extend(file.stat().st_size for file in ctx.settings.root.rglob("*.part") if file.stat().st_size)
            time.sleep(0.02)
        yield b"\r\n--x--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = httpx.post(f"{house.base}/datasets", content=body(), headers=headers, timeout=_PATIENCE)
    assert answer.status_code == 303
    assert seen, "nothing had come through before the last byte was sent"
