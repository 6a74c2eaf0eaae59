"""What a visitor must neither read nor change: secrets of the installation, and an administrator's private things."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import sqlalchemy as sa
from sqlmodel import SQLModel, col, select

from app.core.context import Context
from app.domain.datasets.models import Dataset
from app.domain.jobs.models import Job
from app.domain.secrets import service as secrets
from app.domain.users.access import Role
from tests.hostile.visitors import Visitor
from tests.people.crowd import give
from tests.web import seeding

#: Nobody reads it, not even who set it.
SECRET = "hf_canaryOfTheHub0123456789"
#: Stands in every text of ada's.
PRIVATE = "canaryOfAda7f3b"
_SHARED = "shared"
#: Tables that only an administrator changes.
_ADMINISTRATORS = {"secret", "preference", "notify_channel", "queue_hold"}


def plant_secret(ctx: Context) -> None:
    """A token of the Hub."""
    with ctx.db.session(write=True) as session:
        secrets.set_secret(session, ctx.settings, secrets.HUB_TOKEN, SECRET)


@dataclass(frozen=True)
class Canaries:
    """Of one site: numbers of people, and of ada's data sets and jobs."""

    ctx: Context
    ids: dict[str, int]
    sets: tuple[int, ...]
    jobs: tuple[int, ...]

    def state(self, visitor: Visitor) -> dict[str, str]:
        """What is not the visitor's to change -> its rows, or a digest of its bytes."""
        found = {}
        with self.ctx.db.session() as session:
            for table in SQLModel.metadata.sorted_tables:
                condition = self._of_others(table, visitor)
                if condition is not None:
                    rows = session.execute(sa.select(table).where(condition).order_by(*table.primary_key)).mappings()
                    found[table.name] = json.dumps([dict(row) for row in rows], default=str, sort_keys=True)
        return found | self._files()

    def _of_others(self, table: sa.Table, visitor: Visitor) -> sa.ColumnElement[bool] | None:
        columns = table.c
        if table.name in {"job", "dataset"}:
            return columns.id.in_(self.jobs if table.name == "job" else self.sets)
        if table.name == "account":
            return columns.name != visitor.name
        if "user_id" in columns:
            return columns.user_id != self.ids.get(visitor.name, 0)
        if "job_id" in columns:
            return columns.job_id.in_(self.jobs)
        if "dataset_id" in columns:
            return columns.dataset_id.in_(self.sets)
        return sa.true() if table.name in _ADMINISTRATORS else None

    def _files(self) -> dict[str, str]:
        root = self.ctx.settings.root / "files"
        ours = [path for number in self.jobs for path in (root / "runs" / str(number)).rglob("*")]
        ours += [path for path in (root / "datasets").iterdir() if path.name.startswith((PRIVATE, _SHARED))]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in ours if path.is_file()}


def plant(ctx: Context, ids: dict[str, int]) -> Canaries:
    """A private data set of ada's, a training that is done and one that waits; and as many that she shares."""
    for name in (PRIVATE, _SHARED):
        with ctx.db.session(write=True) as session:
            made = seeding.dataset(session, ctx, f"{name}-rows")
            question = seeding.CONFIG.questions[0].model_copy(update={"prompt": f"{name}?"})
            done = seeding.training(session, ctx, made, f"{name} done", questions=(question,))
            seeding.training(session, ctx, made, f"{name} waits", questions=(question,))
            seeding.run(session, done)
            seeding.finish(session, ctx, done)
    give(ctx, ids["ada"])
    with ctx.db.session(write=True) as session:
        for table in (Dataset, Job):
            shared = (col(table.owner_id) == ids["ada"], col(table.name).startswith(_SHARED))
            session.execute(sa.update(table).where(*shared).values(shared=True))
        sets = session.exec(select(Dataset).where(Dataset.owner_id == ids["ada"])).all()
        jobs = session.exec(select(Job).where(Job.owner_id == ids["ada"])).all()
        numbers = tuple(row.id or 0 for row in sets), tuple(row.id or 0 for row in jobs)
    return Canaries(ctx, ids, *numbers)


def hidden_from(visitor: Visitor) -> tuple[str, ...]:
    """Texts that no answer to them may hold."""
    private = visitor.accounts and visitor.role is not Role.ADMINISTRATOR
    return (SECRET, PRIVATE) if private else (SECRET,)
