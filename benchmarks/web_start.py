"""Process start to the first page, and memory at rest, against the least a FastAPI + SQLite + Jinja page costs."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

ROUNDS = 5
FLOOR = """
import sqlite3, sys, uvicorn, jinja2
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
app = FastAPI()
page = jinja2.Environment(autoescape=True).from_string("<h1>{{ n }}</h1>")
@app.get("/")
def home():
    return HTMLResponse(page.render(n=sqlite3.connect(":memory:").execute("select 1").fetchone()[0]))
uvicorn.run(app, port=int(sys.argv[1]), log_config=None)
"""


def free_port() -> int:
    """A port nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_once(command: list[str], env: dict[str, str], port: int) -> tuple[float, float]:
    """(seconds to the first 200 of the home page, megabytes resident two seconds later)."""
    begun = time.perf_counter()
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=env, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                if process.poll() is not None:
                    raise RuntimeError(f"{command} ended with {process.returncode}") from None
                time.sleep(0.005)
        seconds = time.perf_counter() - begun
        time.sleep(2)
        return seconds, psutil.Process(process.pid).memory_info().rss / 1e6
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def main() -> None:
    """Alternate the two, five times, and print the medians and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        base = dict(os.environ) | {"TUNEDECK_DATA_DIR": folder}
        base.pop("PYTHONDONTWRITEBYTECODE", None)
        subprocess.run([sys.executable, "-m", "app.cli", "db", "upgrade"], env=base, check=True)
        floor_file = Path(folder) / "floor.py"
        floor_file.write_text(FLOOR)
        found: dict[str, list[tuple[float, float]]] = {"floor": [], "tunedeck": []}
        for _ in range(ROUNDS):
            port = free_port()
            found["floor"].append(start_once([sys.executable, str(floor_file), str(port)], base, port))
            port = free_port()
            env = base | {"TUNEDECK_WEB__PORT": str(port)}
            found["tunedeck"].append(start_once([sys.executable, "-m", "app.serve"], env, port))
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}
    print(f"{'':12}{'first page':>14}{'memory at rest':>18}")
    for name, (seconds, megabytes) in medians.items():
        print(f"{name:12}{seconds:>12.2f} s{megabytes:>15.0f} MB")
    ratios = [ours / floor for ours, floor in zip(medians["tunedeck"], medians["floor"], strict=True)]
    print(f"{'ratio':12}{ratios[0]:>13.2f}×{ratios[1]:>16.2f}×")
