"""Two workers and 200 queued jobs whose child is only a few lines: jobs a second, on SQLite and on Postgres."""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from app.core.context import make_context
from app.core.migrate import upgrade
from app.core.settings import Settings
from tests import services
from tests.jobs.queued import fill, in_order, work

COUNT = 200
_CHILD = "import worker.child, worker.trainer.protocol, worker.trainer.specs"


def start_alone() -> float:
    """Seconds that a child takes to start and do nothing: what no queue can save."""
    begun = time.perf_counter()
    for _ in range(5):
        subprocess.run([sys.executable, "-c", _CHILD], check=True)
    return (time.perf_counter() - begun) / 5


def once(url: str) -> tuple[float, bool]:
    """(seconds for all of them, whether each ran once and in its order)."""
    with tempfile.TemporaryDirectory() as folder:
        ctx = make_context(Settings.model_validate({"data_dir": Path(folder) / "data", "database_url": url}))
        upgrade(ctx.settings.database)
        fill(ctx, COUNT)
        found = work(ctx, url)
        ctx.db.dispose()
    return found.seconds, in_order(found, COUNT)


def main() -> None:
    """Both databases, after what the child alone costs."""
    logging.getLogger("app").setLevel(logging.ERROR)  # no broker runs here, which every launch would say
    print(f"a child that does nothing                    {start_alone():6.2f} s")
    for name, url in (("SQLite", ""), ("Postgres", services.postgres_url())):
        if url is None:
            print(f"{name}: not there")
            continue
        seconds, sound = once(url)
        order = "each once, in order" if sound else "NOT each once and in order"
        print(f"{COUNT} jobs, two workers, {name:10} {seconds:6.1f} s   {COUNT / seconds:5.1f} jobs/s   {order}")
