"""Trainings that wait, on rows that are ready."""

from __future__ import annotations

import json
from typing import Any

from app.core.context import Context
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.jobs import service
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.states import JobKind
from tests.tiny_model import tiny_rows


def queued(ctx: Context, count: int, **changes: Any) -> list[int]:
    """The numbers of `count` trainings for a scripted trainer."""
    key = "datasets/tiny.jsonl"
    ctx.storage.make_parent(key).write_text("".join(json.dumps(row) + "\n" for row in tiny_rows(10)))
    config = TrainConfig.model_validate({"base_model": "scripted"} | changes).model_dump(mode="json")
    with ctx.db.session(write=True) as session:
        rows = Dataset(name="tiny", filename="tiny.jsonl", size=1, sha256="0", source_key=key, rows_key=key)
        rows.state, rows.row_count, rows.format = DatasetState.READY, 10, "messages"
        session.add(rows)
        session.flush()
        wish: dict[str, Any] = {"kind": JobKind.TRAIN, "subject_id": rows.id or 0, "config": config}
        return [service.enqueue(session, ctx.bells, name=f"job {n}", **wish).id or 0 for n in range(count)]
