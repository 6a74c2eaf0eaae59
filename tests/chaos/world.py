"""A database, a folder of bytes, workers as processes of their own, and the hands that hurt them."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from app.core.context import Context, make_context
from app.core.migrate import upgrade
from app.core.settings import Settings
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.jobs import service
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.states import JobKind
from tests.chaos.scripted import STEPS
from tests.tiny_model import tiny_rows

LEASE = 2.0
_ROOT = Path(__file__).parents[2]


def fresh_schema(url: str, name: str) -> str:
    """The address of an empty schema."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    return f"{url}?options=-csearch_path%3D{name}"


class World:
    """Workers on one database; each is one runner, one sweeper and its child."""

    def __init__(self, folder: Path, postgres: str | None, workers: int) -> None:
        self._folder = folder
        self._schema = f"chaos_{secrets.token_hex(6)}"
        url = fresh_schema(postgres, self._schema) if postgres else ""
        self._env = self._environment(folder / "data", url and f"{url}&application_name={self._schema}")
        values = {"data_dir": folder / "data", "database_url": url, "hub": {"offline": True}}
        self.ctx: Context = make_context(Settings.model_validate(values), worker=True)
        upgrade(self.ctx.settings.database)
        self._postgres = postgres
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._wake: list[tuple[float, int]] = []
        for name in (*(f"w{number}" for number in range(workers)), "sweeper"):
            self._start(name)

    @staticmethod
    def _environment(data: Path, url: str) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("TUNEDECK_", "DATABASE_URL", "REDIS_URL"))}
        worker = {"lease_seconds": LEASE, "beat_seconds": 0.2, "sweep_seconds": 0.3, "max_losses": 50}
        env |= {f"TUNEDECK_WORKER__{name.upper()}": str(value) for name, value in worker.items()}
        return env | {"TUNEDECK_DATA_DIR": str(data)} | ({"TUNEDECK_DATABASE_URL": url} if url else {})

    def _start(self, name: str) -> None:
        command = [sys.executable, "-P", "-m", "tests.chaos.worker", name]
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(command, env=self._env, cwd=_ROOT, stdout=log, stderr=log)

    def enqueue(self, count: int) -> list[int]:
        """Jobs on rows that are ready."""
        key = "datasets/tiny.jsonl"
        self.ctx.storage.make_parent(key).write_text("".join(json.dumps(row) + "\n" for row in tiny_rows(10)))
        config = TrainConfig(base_model="scripted", max_steps=STEPS).model_dump(mode="json")
        with self.ctx.db.session(write=True) as session:
            rows = Dataset(name="tiny", filename="tiny.jsonl", size=1, sha256="0", source_key=key, rows_key=key)
            rows.state, rows.row_count, rows.format = DatasetState.READY, 10, "messages"
            session.add(rows)
            session.flush()
            wish: dict[str, Any] = {"kind": JobKind.TRAIN, "subject_id": rows.id or 0, "config": config}
            return [service.enqueue(session, self.ctx.bells, name=f"job {n}", **wish).id or 0 for n in range(count)]

    def tend(self) -> None:
        """Wake those whose time has come, and start the dead again."""
        now = time.monotonic()
        for item in [item for item in self._wake if item[0] <= now]:
            self._wake.remove(item)
            _signal(item[1], signal.SIGCONT)
        for name, process in list(self._processes.items()):
            if process.poll() is not None:
                self._start(name)

    def kill(self, worker: str) -> None:
        """As the kernel does when memory runs out, to the worker alone."""
        self._processes[worker].kill()

    @staticmethod
    def kill_trainers(pids: list[int]) -> bool:
        """Whether there was one."""
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        return bool(pids)

    def freeze(self, pid: int, seconds: float) -> None:
        """Stand still, and go on later as if nothing had been."""
        _signal(pid, signal.SIGSTOP)
        self._wake.append((time.monotonic() + seconds, pid))

    def freeze_worker(self, worker: str, seconds: float) -> None:
        """The worker alone; its child hears no renewal."""
        self.freeze(self._processes[worker].pid, seconds)

    def trainers(self, job_id: int) -> list[int]:
        """Processes that work in a folder of this job."""
        place = f"{self.ctx.storage.path(f'runs/{job_id}')}/"
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.cmdline()[-1:] and process.cmdline()[-1].startswith(place):
                    found.append(process.pid)
        return found

    def hold_database(self, seconds: float) -> None:
        """Nobody gets an answer: Postgres' processes for this world stand still, SQLite's write lock is held."""
        if self._postgres is None:
            with self.ctx.db.session(write=True):
                time.sleep(seconds)
            return
        with psycopg.connect(self._postgres) as other:
            query = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
            for (pid,) in other.execute(query, [self._schema]).fetchall():
                self.freeze(pid, seconds)

    def close(self) -> None:
        """Wake what is frozen, end what was started, leave no schema behind."""
        for _, pid in self._wake:
            _signal(pid, signal.SIGCONT)
        for process in self._processes.values():
            process.kill()
            process.wait()
        self.ctx.db.dispose()
        if self._postgres:
            with psycopg.connect(self._postgres, autocommit=True) as other:
                self._end_connections(other)
                other.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(self._schema)))

    def _end_connections(self, other: psycopg.Connection[tuple[object, ...]]) -> None:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
        other.execute(query, [self._schema])


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
