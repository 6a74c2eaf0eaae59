"""A small installation: database, Redis, a web process, two Celery workers, a disk; and who starts again what died."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app.core.context import Context, make_context
from app.core.migrate import upgrade
from app.core.settings import Settings
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.jobs import service
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.states import JobKind
from tests import services
from tests.chaos.heard import Watcher, pid_of
from tests.chaos.hurdles import Clock, SmallDisk
from tests.chaos.scripted import STEPS
from tests.chaos.servers import Server, postgres_server, redis_server
from tests.chaos.worker import PIDS_ENV, TRAINER_ENV
from tests.tiny_model import build_tiny_model, tiny_rows

WORKERS = ("w0", "w1")
_ROOT = Path(__file__).parents[2]
_HOLD_STILL = ("TUNEDECK_", "DATABASE_URL", "REDIS_URL", "LD_PRELOAD", "FAKETIME")


@dataclass(frozen=True)
class Kind:
    """What trains, the lease in seconds that it gets, and how long one job takes about, in seconds."""

    trainer: str
    lease: float
    seconds: float
    disk_megabytes: int


SCRIPTED = Kind("tests.chaos.scripted", 2.0, 2.0, 32)
REAL = Kind("tests.chaos.real", 10.0, 15.0, 1200)  # a training starts only where half a gigabyte stays free


class World:
    """Everything that one batch of runs needs, in one folder."""

    def __init__(self, folder: Path, kind: Kind, *, postgres: bool) -> None:
        self.kind = kind
        self._folder = folder
        self.disk = SmallDisk(folder / "data", kind.disk_megabytes)
        self.clocks = {name: Clock(folder / f"{name}.clock") for name in (*WORKERS, "web")}
        self.redis, redis_url = redis_server(folder / "redis")
        self.postgres: Server | None = None
        url = ""
        if postgres:
            self.postgres, url = postgres_server(folder / "postgres")
        self.servers: list[Server] = [self.redis, *([self.postgres] if self.postgres else [])]
        for server in self.servers:
            server.start()
        for server in self.servers:
            server.wait()
        values = {"data_dir": folder / "data", "database_url": url, "redis_url": redis_url, "hub": {"offline": True}}
        self.ctx: Context = make_context(Settings.model_validate(values), worker=True)
        upgrade(self.ctx.settings.database)
        self._env = self._environment(url, redis_url)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._resting: set[Server] = set()
        self.watcher = Watcher(self.ctx.storage.path("runs"), kind.lease)
        self._end = threading.Event()
        self._hands = threading.Thread(target=self._tend, name="hands", daemon=True)
        self._hands.start()
        self.watcher.start()

    def _environment(self, url: str, redis_url: str) -> dict[str, str]:
        (self._folder / "pids").mkdir()
        env = {name: value for name, value in os.environ.items() if not name.startswith(_HOLD_STILL)}
        lease = self.kind.lease
        worker = {"lease_seconds": lease, "beat_seconds": lease / 10, "sweep_seconds": lease / 6, "max_losses": 30}
        env |= {f"TUNEDECK_WORKER__{name.upper()}": str(value) for name, value in worker.items()}
        env |= {"TUNEDECK_DATA_DIR": str(self._folder / "data"), "TUNEDECK_REDIS_URL": redis_url}
        env |= {"TUNEDECK_WORKER__STANDBY": "false", "TUNEDECK_HUB__OFFLINE": "true", "TUNEDECK_WORKER__THREADS": "1"}
        env |= {"TUNEDECK_WEB__PORT": str(services._free_port()), "TUNEDECK_MODELS__LOCAL_ROOTS": f'["{self._folder}"]'}
        env |= {TRAINER_ENV: self.kind.trainer, PIDS_ENV: str(self._folder / "pids")}
        return env | ({"TUNEDECK_DATABASE_URL": url} if url else {})

    @property
    def address(self) -> str:
        """Where the web process answers."""
        return f"http://127.0.0.1:{self._env['TUNEDECK_WEB__PORT']}"

    def enqueue(self, count: int, steps: int = STEPS) -> list[int]:
        """Trainings on rows that are ready."""
        with self.ctx.db.session(write=True) as session:
            subject = self._rows(session)
            wish: dict[str, Any] = {"kind": JobKind.TRAIN, "subject_id": subject, "config": self._config(steps)}
            return [service.enqueue(session, self.ctx.bells, name=f"job {n}", **wish).id or 0 for n in range(count)]

    def _rows(self, session: Any) -> int:
        key = "datasets/tiny.jsonl"
        self.ctx.storage.make_parent(key).write_text("".join(json.dumps(row) + "\n" for row in tiny_rows(20)))
        rows = Dataset(name="tiny", filename="tiny.jsonl", size=1, sha256="0", source_key=key, rows_key=key)
        rows.state, rows.row_count, rows.format = DatasetState.READY, 20, "messages"
        session.add(rows)
        session.flush()
        return rows.id or 0

    def _config(self, steps: int) -> dict[str, Any]:
        if self.kind is SCRIPTED:
            return TrainConfig(base_model="scripted", max_steps=steps).model_dump(mode="json")
        model = self._folder / "model"
        if not model.exists():
            build_tiny_model(model)
        wish = TrainConfig(base_model=str(model), max_steps=steps, save_steps=5, learning_rate=1e-2)
        return wish.model_dump(mode="json")

    # -- whom it hurts

    def main_process(self, worker: str) -> int | None:
        """Of Celery: the one that listens."""
        process = self._processes.get(worker)
        return process.pid if process and process.poll() is None else None

    def trainer(self, job_id: int, attempt: int) -> int | None:
        """The process that works at this attempt."""
        return pid_of(self.ctx.storage.path(f"runs/{job_id}/a{attempt}"))

    def soon(self, seconds: float, act: Callable[[], None]) -> None:
        """Done by the hands, whoever else may be waiting for a server that does not answer."""
        self._later.append((time.monotonic() + seconds, act))

    def freeze(self, pids: list[int], seconds: float) -> None:
        """Stand still, and go on later as if nothing had been."""
        for pid in pids:
            send(pid, signal.SIGSTOP)
            self.soon(seconds, partial(send, pid, signal.SIGCONT))

    def fell(self, server: Server, seconds: float, *, politely: bool) -> None:
        """Down, and up again after `seconds`."""
        self._resting.add(server)
        (server.stop if politely else server.kill)()
        self.soon(seconds, lambda: self._resting.discard(server))

    def signal_process(self, name: str, number: signal.Signals) -> None:
        """To the web process or to a worker's main process."""
        if (process := self._processes.get(name)) is not None:
            process.send_signal(number)

    # -- who starts again what died

    def _tend(self) -> None:
        while not self._end.wait(0.02):
            now = time.monotonic()
            for item in [item for item in self._later if item[0] <= now]:
                self._later.remove(item)
                item[1]()
            for server in self.servers:
                if server not in self._resting and server.is_dead():
                    server.start()
            for name in (*WORKERS, "web"):
                process = self._processes.get(name)
                if process is None or process.poll() is not None:
                    self._start(name)

    def _start(self, name: str) -> None:
        module = ["app.serve"] if name == "web" else ["tests.chaos.worker", "gpu"]
        env = self._env | {"TUNEDECK_WORKER__NAME": name} | self.clocks[name].env()
        with (self._folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-P", "-m", *module]
            self._processes[name] = subprocess.Popen(command, env=env, cwd=_ROOT, stdout=log, stderr=log)

    def close(self) -> None:
        """Wake what is frozen, end what was started."""
        self._end.set()
        self._hands.join()
        for _, act in self._later:
            act()
        for process in self._processes.values():
            process.kill()
            process.wait()
        for file in (self._folder / "pids").iterdir():  # those whose main process was killed before them
            send_if_ours(int(file.name))
        self.watcher.stop()
        self.ctx.db.dispose()
        for server in self.servers:
            server.kill()
        self.disk.close()


def send(pid: int, number: signal.Signals) -> None:
    """To a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def send_if_ours(pid: int) -> None:
    """SIGKILL, unless the number is another's by now."""
    with contextlib.suppress(OSError):
        if b"tests.chaos.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
            send(pid, signal.SIGKILL)
