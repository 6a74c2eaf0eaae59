"""The audit log: what is in it, what is not, and that nobody takes anything out."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlmodel import select
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.models.catalogue import BUNDLED
from app.domain.trail import service
from app.domain.trail.models import AuditEntry
from app.domain.users import tokens
from app.domain.users.access import Actor, Role, Scope
from tests.people.conftest import House
from tests.people.test_whose import upload
from tests.web import seeding

MIA = Actor(1, "mia", Role.MEMBER)


def lines(ctx: Context) -> list[tuple[str, str, str, str]]:
    with ctx.db.session() as session:
        found = reversed(service.entries(session))
        return [(entry.who, entry.via, entry.action, entry.outcome) for entry in found]


def test_who_did_what_from_where(house: House) -> None:
    mia = house.sign_in("mia")
    number = upload(mia, b"x")
    mia.post(f"/datasets/{number}/rename", data={"name": "other"})
    with house.ctx.db.session(write=True) as session:
        _row, token = tokens.make(session, house.ids["mia"], "t", Scope.WRITE, 30)
    script = house.browser(token=token)
    script.post(f"/api/jobs/{house.world.queued}/cancel")
    house.browser().post("/sign-in", data={"name": "mallory", "password": "x"})
    house.sign_in("max").post(f"/jobs/{house.world.queued}/cancel")  # to max it does not exist
    house.share(shared=True)
    house.sign_in("max").post(f"/jobs/{house.world.queued}/delete")
    assert lines(house.ctx) == [
        ("mia", "", "account.sign_in", "done"),
        ("mia", "session", "dataset.upload", "done"),
        ("mia", "session", "dataset.rename", "done"),
        ("mia", "token", "job.cancel", "done"),
        ("", "", "account.sign_in", "refused"),  # what was typed as a name may be a password
        ("max", "", "account.sign_in", "done"),
        ("max", "", "account.sign_in", "done"),
        ("max", "session", "job.delete", "refused"),
    ]
    with house.ctx.db.session() as session:
        entry = service.entries(session, action="dataset.rename")[0]
        assert entry.subject.startswith(f"dataset {number} “")
        assert entry.address == "testclient"
        assert service.entries(session, action="data") == []
        assert len(service.entries(session, action="dataset")) == 2
    page = house.browser("ada").get("/settings/log?kind=job").text
    assert "Refused" in page
    assert "dataset" not in page.split("<tbody>")[1].split("</tbody>")[0]


def test_a_password_that_was_refused_is_told_as_refused(house: House) -> None:
    mia = house.browser("mia")
    form = {"old_password": "not it at all", "password": "another four words", "again": "another four words"}
    mia.post("/account/password", data=form)
    assert lines(house.ctx)[-1] == ("mia", "session", "account.password", "refused")
    mia.post("/sign-out")
    assert lines(house.ctx)[-1] == ("mia", "session", "account.sign_out", "done")


def test_asking_on_and_on_fills_no_disk(house: House) -> None:
    vi = house.browser("vi")
    before = len(lines(house.ctx))
    for _n in range(10):
        assert vi.post("/demo").status_code == 403
        vi.post("/workers/queues/gpu/hold")
    assert len(lines(house.ctx)) == before + 2
    with house.ctx.db.session() as session:
        assert service.entries(session, action="queue")[0].subject == "queue gpu"


def test_ones_sign_ins_are_ones_own(house: House) -> None:
    house.sign_in("mia")
    house.browser().post("/sign-in", data={"name": "mia", "password": "wrong wrong"})
    with house.ctx.db.session() as session:
        found = service.entries(session, user_id=house.ids["mia"])
    assert [(entry.action, entry.outcome) for entry in found] == [
        ("account.sign_in", "refused"),
        ("account.sign_in", "done"),
    ]


def test_what_changed_nothing_is_not_told(house: House) -> None:
    mia = house.browser("mia")
    before = len(lines(house.ctx))
    mia.post("/jobs", data={"dataset_id": "", "name": "", "base_model": BUNDLED})
    mia.post("/jobs/new/panel", data={"dataset_id": str(house.world.dataset), "base_model": BUNDLED})
    mia.post(f"/jobs/{house.world.done}/pause")
    mia.get("/jobs")
    assert len(lines(house.ctx)) == before


def test_what_writes_by_itself_is_told_too(house: House) -> None:
    ada = house.browser("ada")
    ada.post("/storage/checkpoints")
    assert lines(house.ctx)[-1] == ("ada", "session", "storage.checkpoints", "done")


def test_without_accounts_there_is_a_log_as_well(client: TestClient, ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        job = seeding.training(session, ctx, seeding.dataset(session, ctx))
    client.post(f"/jobs/{job.id}/cancel")
    assert lines(ctx) == [("this machine", "local", "job.cancel", "done")]
    assert "on this machine" in client.get("/settings/log").text


@pytest.mark.parametrize("statement", ["update audit_entry set who = 'nobody'", "delete from audit_entry"])
def test_the_database_itself_refuses_to_change_it(any_ctx: Context, statement: str) -> None:
    with any_ctx.db.session(write=True) as session:
        service.record(session, MIA, "job.cancel")
    with pytest.raises(DBAPIError, match="append-only"), any_ctx.db.session(write=True) as session:
        session.execute(sa.text(statement))
    with any_ctx.db.session() as session:
        assert [entry.who for entry in session.exec(select(AuditEntry))] == ["mia"]


def test_it_is_turned_page_by_page(house: House) -> None:
    with house.ctx.db.session(write=True) as session:
        for number in range(250):
            service.record(session, MIA, "job.cancel", subject=f"number {number}")
    ada = house.browser("ada")
    path, pages = "/settings/log?kind=job", 0
    while path:
        page = ada.get(path).text
        pages += 1
        onward = page.split('rel="next"')[0].rpartition('href="')[2].split('"')[0] if 'rel="next"' in page else ""
        path = onward.replace("&amp;", "&")
    assert pages == 3
    assert ">number 0<" in page
