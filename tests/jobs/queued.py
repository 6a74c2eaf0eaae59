"""Two workers and many queued jobs whose child is only a few lines: what the queue itself costs."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session, col, select

from app.core.context import Context
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.jobs import service
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.models import Job, JobAttempt
from app.domain.jobs.states import JobKind
from tests.tiny_model import tiny_rows

PRIORITIES = (0, 5, 9)
_ROOT = Path(__file__).parents[2]
#: A worker without Celery: it works until nothing waits.
_WORKER = """
import sys
from app.core.context import make_context
from app.core.settings import Settings
from app.domain import tables
from app.domain.jobs.states import JobKind
from worker import process
from worker.runner import Runner
process.MODULES[JobKind.TRAIN] = "tests.chaos.brief"
values = {"data_dir": sys.argv[2], "database_url": sys.argv[3], "hub": {"offline": True}}
ctx = make_context(Settings.model_validate(values), worker=True)
print("ready", flush=True)
sys.stdin.readline()
Runner(ctx, sys.argv[1], "gpu").run_waiting()
"""


@dataclass(frozen=True)
class Work:
    """What came of it."""

    seconds: float
    #: (job, its priority, its position, worker) in the order of the claims.
    claims: list[tuple[int, int, int, str]]
    states: dict[int, str]


def fill(ctx: Context, count: int) -> None:
    """`count` jobs of mixed priorities on rows that are ready."""
    chance = random.Random(count)
    key = "datasets/tiny.jsonl"
    ctx.storage.make_parent(key).write_text("".join(json.dumps(row) + "\n" for row in tiny_rows(4)))
    config = TrainConfig(base_model="scripted", max_steps=2).model_dump(mode="json")
    with ctx.db.session(write=True) as session:
        rows = Dataset(name="tiny", filename="tiny.jsonl", size=1, sha256="0", source_key=key, rows_key=key)
        rows.state, rows.row_count, rows.format = DatasetState.READY, 4, "messages"
        session.add(rows)
        session.flush()
        for number in range(count):
            wish = {"kind": JobKind.TRAIN, "subject_id": rows.id or 0, "config": config}
            service.enqueue(session, ctx.bells, name=f"job {number}", **wish).priority = chance.choice(PRIORITIES)  # type: ignore[arg-type]


def in_order(found: Work, count: int) -> bool:
    """Each ran once and well; the most urgent first, as far as two that take at the same moment can tell."""
    ranks = sorted(found.claims, key=lambda claim: (-claim[1], claim[2]))
    near = all(abs(rank - ranks.index(claim)) <= 1 for rank, claim in enumerate(found.claims))
    own = [[claim for claim in found.claims if claim[3] == name] for name in ("w0", "w1")]
    each = all(mine == [claim for claim in ranks if claim in mine] for mine in own)
    once = len({claim[0] for claim in found.claims}) == len(found.claims) == count
    return near and each and once and set(found.states.values()) == {"succeeded"}


def work(ctx: Context, url: str) -> Work:
    """Two worker processes, begun together once both have loaded, until nothing waits."""
    command = [sys.executable, "-P", "-c", _WORKER]
    place = [str(ctx.settings.root), url]
    quiet, pipe = subprocess.DEVNULL, subprocess.PIPE
    workers = [
        subprocess.Popen([*command, name, *place], cwd=_ROOT, stdin=pipe, stdout=pipe, stderr=quiet)
        for name in ("w0", "w1")
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
    begun = time.perf_counter()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate()
    seconds = time.perf_counter() - begun
    with ctx.db.session() as session:
        return Work(seconds, _claims(session), {job.id or 0: job.state for job in session.exec(select(Job))})


def _claims(session: Session) -> list[tuple[int, int, int, str]]:
    rows = select(JobAttempt, Job).join(Job, col(Job.id) == JobAttempt.job_id).order_by(col(JobAttempt.started_at))
    return [(job.id or 0, job.priority, job.position, attempt.worker) for attempt, job in session.exec(rows)]
