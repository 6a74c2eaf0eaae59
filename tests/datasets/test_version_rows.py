"""Versions as rows of the database, on both of them: numbers are given once, and what is offered is the newest."""

from __future__ import annotations

import threading

from app.core.context import Context
from app.domain.datasets import rereading, service, versions
from app.domain.datasets.changes import Changes
from tests.web import seeding


def make(ctx: Context, parent_id: int, changes: Changes) -> int:
    with ctx.db.session() as session:
        parent = service.get_dataset(session, parent_id)
        session.expunge(parent)
    written = versions.write(ctx, parent, changes)
    with ctx.db.session(write=True) as session:
        return versions.enter(session, ctx.bells, parent_id, changes, written).id or 0


def test_two_at_once_get_numbers_of_their_own(any_ctx: Context) -> None:
    with any_ctx.db.session(write=True) as session:
        first = seeding.dataset(session, any_ctx)
        other = seeding.dataset(session, any_ctx, "other")
    wishes = [Changes(kind="excluded", excluded=(number,)) for number in range(4)]
    threads = [threading.Thread(target=make, args=(any_ctx, first, wish)) for wish in wishes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with any_ctx.db.session(write=True) as session:
        found = service.family(session, service.get_dataset(session, first))
        assert [each.version for each in found] == [5, 4, 3, 2, 1]
        assert all(each.family == first for each in found)
        newest, earlier = versions.newest_first(service.list_datasets(session))
        assert [each.id for each in newest] == [found[0].id, other]
        assert len(earlier) == 4
        job = rereading.read_again(session, any_ctx.bells, first, "messages", {"messages": "messages"}, [])
        assert service.get_dataset(session, job.subject_id).version == 6
        assert versions.file_of(session, found[0]) is found[-1]
