"""Whose things are: what others see of them, through every number in a path, a query or a body."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import col, select
from starlette.testclient import TestClient

from app.domain.datasets.audits import request_audit
from app.domain.datasets.models import Dataset
from app.domain.errors import NotFoundError, TooManyError
from app.domain.jobs import ordering, owners
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Job
from app.domain.jobs.states import JobKind
from app.domain.models.catalogue import BUNDLED
from app.domain.users import tokens
from app.domain.users.access import LOCAL, Actor, Role, Scope
from app.domain.users.scoping import act_as
from tests.people.conftest import House
from tests.web import seeding

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("good", "bad", "running", "done", "failed", "queued")


@pytest.mark.parametrize("path", ["/", "/datasets", "/jobs", "/jobs?show=waiting", "/models", "/workers", "/jobs/new"])
def test_no_list_tells_of_what_is_anothers(house: House, path: str) -> None:
    browser = house.browser("max")
    page = browser.get(path).text
    assert not [name for name in NAMES if f">{name}<" in page]
    house.share(shared=True)
    if path not in {"/workers", "/jobs/new"}:
        assert [name for name in NAMES if f">{name}<" in browser.get(path).text]


def test_the_queue_says_only_that_others_wait(house: House) -> None:
    with house.ctx.db.session(write=True) as session:
        max_ = Actor(house.ids["max"], "max", Role.MEMBER)
        act_as(session, max_)
        own = seeding.training(session, house.ctx, house.world.dataset, "max's own")
    browser = house.browser("max")
    page = browser.get("/jobs").text
    assert "Somebody else&#39;s training" in page
    assert ">queued<" not in page
    with house.ctx.db.session(write=True) as session:
        _row, token = tokens.make(session, house.ids["max"], "t", Scope.WRITE, 30)
    script = house.browser(token=token)
    queue = next(queue for queue in script.get("/api/queues").json() if queue["name"] == "gpu")
    assert ([job["name"] for job in queue["waiting"]], queue["others"]) == (["max's own"], 1)
    assert script.post(f"/api/jobs/{house.world.queued}/first").status_code == 404
    assert script.post(f"/api/jobs/{own.id}/first").status_code == 200  # one's own may go before the others
    with house.ctx.db.session() as session:
        assert ordering.waiting(session, "gpu")[0].id == own.id


def test_numbers_in_queries_and_bodies_reach_no_further(house: House) -> None:
    world, browser = house.world, house.browser("max")
    for query in (f"like={world.done}", f"less={world.failed}", f"further={world.done}"):
        assert browser.get(f"/jobs/new?{query}").status_code == 404
    assert "is gone, or not ready" in browser.get(f"/jobs/new?dataset={world.dataset}").text
    form = {"dataset_id": str(world.dataset), "name": "x", "base_model": BUNDLED}
    assert browser.post("/jobs", data=form).status_code == 422
    assert browser.post("/jobs/new/questions", data=form).status_code == 404
    assert "Question" not in browser.post("/jobs/new/panel", data=form).text
    json = {"accept": "application/json"}
    wish: dict[str, Any] = {"dataset_id": world.dataset, "name": "x", "config": {"base_model": BUNDLED}}
    assert set(browser.post("/api/jobs", json=wish, headers=json).json()["error"]["fields"]) == {"dataset_id"}
    mine = upload(browser, b"max")
    wish = {"dataset_id": mine, "name": "x", "config": {"base_model": BUNDLED, "adapter_of": world.done}}
    assert "base_model" in browser.post("/api/jobs", json=wish, headers=json).json()["error"]["fields"]
    with house.ctx.db.session() as session:
        kinds = set(session.exec(select(Job.kind).where(Job.owner_id == house.ids["max"])))
    assert kinds == {JobKind.INTAKE}


def test_a_repeated_job_needs_its_data_too(house: House) -> None:
    browser = house.browser("max")
    with house.ctx.db.session(write=True) as session:
        owners.share(session, house.world.failed, shared=True)
    assert browser.get(f"/jobs/{house.world.failed}").status_code == 200
    assert browser.post(f"/jobs/{house.world.failed}/retry").status_code == 422
    assert browser.post(f"/api/jobs/{house.world.failed}/duplicate", json={}).status_code == 422
    house.share(shared=True)
    answer = browser.post(f"/jobs/{house.world.failed}/retry")
    number = int(answer.headers["location"].rpartition("/")[2].split("#")[0])
    with house.ctx.db.session() as session:
        made = session.get_one(Job, number)
        assert (made.owner_id, made.shared) == (house.ids["max"], False)


def upload(browser: Any, salt: bytes) -> int:
    rows = seeding.lines({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})
    answer = browser.post("/datasets", files={"file": (f"{salt.decode()}.jsonl", rows)})
    return int(answer.headers["location"].rpartition("/")[2])


def test_the_same_bytes_are_no_way_to_learn_of_anothers(house: House) -> None:
    one, other = upload(house.browser("mia"), b"mia"), upload(house.browser("max"), b"max")
    assert one != other
    with house.ctx.db.session() as session:
        assert session.get_one(Dataset, one).owner_id == house.ids["mia"]
        assert session.get_one(Dataset, other).owner_id == house.ids["max"]
    assert upload(house.browser("max"), b"again") == other


def test_sharing_reaches_what_was_made_of_it(house: House) -> None:
    world, mia, max_ = house.world, house.browser("mia"), house.browser("max")
    assert max_.get(f"/artifacts/{world.gguf}/download").status_code == 404
    mia.post(f"/jobs/{world.done}/share", data={"shared": "yes"})
    assert max_.get(f"/models/{world.done}").status_code == 200
    assert max_.get(f"/artifacts/{world.gguf}/download").status_code == 200
    assert max_.get(f"/datasets/{world.dataset}").status_code == 404
    page = max_.get(f"/jobs/{world.done}").text
    assert "of mia, shared with everybody" in page
    assert ">good<" not in page
    for verb in ("delete", "push", "share", "cancel", "export"):
        assert f'action="/jobs/{world.done}/{verb}"' not in page
    mia.post(f"/datasets/{world.dataset}/share", data={"shared": "yes"})
    assert max_.get(f"/datasets/{world.dataset}").status_code == 200
    assert max_.post(f"/datasets/{world.dataset}/audit", data={"base_model": BUNDLED}).is_redirect
    mia.post(f"/jobs/{world.done}/share", data={"shared": "no"})
    assert max_.get(f"/artifacts/{world.gguf}/download").status_code == 404
    assert mia.post(f"/api/jobs/{world.done}/share", json={"shared": True}).json()["shared"] is True


def borrowed(house: House) -> int:
    """Max trains on mia's data set, which is shared."""
    house.share(shared=True)
    wish = {
        "dataset_id": house.world.dataset,
        "name": "max's",
        "config": {"base_model": BUNDLED},
        "priority": "whenever",
    }
    answer = house.browser("max").post("/api/jobs", json=wish)
    assert answer.status_code == 201
    with house.ctx.db.session(write=True) as session:
        theirs = (col(Job.owner_id) == house.ids["mia"], col(Job.kind) == JobKind.TRAIN)
        session.execute(sa.update(Job).where(*theirs).values(state="cancelled"))
    return int(answer.json()["id"])


@pytest.mark.parametrize("how", ["delete", "share"])
def test_who_takes_a_data_set_back_is_not_held_up_by_those_who_borrowed_it(house: House, how: str) -> None:
    number = borrowed(house)
    answer = house.browser("mia").post(f"/datasets/{house.world.dataset}/{how}", data={"shared": "no"})
    assert answer.status_code == 303
    page = house.browser("max").get(f"/jobs/{number}").text
    assert "Its data set is not shared any more." in page
    with house.ctx.db.session() as session:
        assert jobs.get_job(session, number).state == "cancelled"


def shared_with(house: House, *kinds: JobKind) -> list[int]:
    with house.ctx.db.session(write=True) as session:
        subject = {JobKind.INTAKE: house.world.dataset, JobKind.AUDIT: house.world.dataset}
        wish = {"repo_id": "corp/secret", "private": False, "what": [["adapter", ""]]}
        made = [
            jobs.enqueue(
                session,
                house.ctx.bells,
                kind=kind,
                subject_id=subject.get(kind, house.world.done),
                name="x",
                config=wish,
            )
            for kind in kinds
        ]
        for job in made:
            job.state, job.shared = "failed", True
        return [job.id or 0 for job in made]


def test_what_is_shared_is_not_to_be_repeated_by_others(house: House) -> None:
    """A push with the house's token, or an intake that would change the data set, is its owner's to repeat."""
    house.share(shared=True)
    max_ = house.browser("max")
    for number in shared_with(house, JobKind.PUSH, JobKind.INTAKE, JobKind.AUDIT, JobKind.EXPORT):
        assert max_.get(f"/api/jobs/{number}", headers={"accept": "application/json"}).status_code == 200
        assert max_.post(f"/jobs/{number}/retry").status_code == 403
        assert max_.post(f"/api/jobs/{number}/retry").status_code == 403


def test_nobody_trains_on_from_an_adapter_that_is_not_shown_to_them(house: House) -> None:
    config = seeding.CONFIG.model_copy(update={"adapter_of": house.world.done}).model_dump(mode="json")
    with house.ctx.db.session(write=True) as session:
        session.get_one(Dataset, house.world.dataset).shared = True
        child = seeding.training(session, house.ctx, house.world.dataset, "child")
        child.config, child.shared, child.owner_id, child.state = config, True, house.ids["mia"], "failed"
    for verb in ("retry", "duplicate", "further"):
        assert house.browser("max").post(f"/api/jobs/{child.id}/{verb}", json={}).status_code in {409, 422}
    assert house.browser("mia").post(f"/api/jobs/{child.id}/retry").status_code == 201


def test_light_jobs_count_for_who_starts_them(house: House) -> None:
    house.share(shared=True)
    with house.ctx.db.session(write=True) as session:
        act_as(session, Actor(house.ids["max"], "max", Role.MEMBER), most_jobs=1)
        made = request_audit(session, house.ctx.bells, house.world.dataset, BUNDLED, "a" * 40)
        assert (made.owner_id, made.started_by) == (house.ids["mia"], house.ids["max"])
        with pytest.raises(TooManyError):
            request_audit(session, house.ctx.bells, house.world.dataset, BUNDLED, "b" * 40)
        act_as(session, Actor(house.ids["ada"], "ada", Role.ADMINISTRATOR), most_jobs=1)
        seeding.training(session, house.ctx, house.world.dataset)


def test_members_push_only_where_they_may(house: House) -> None:
    form = {"repo_id": "corp/model", "visibility": "public", "what": "gguf:q8_0"}
    assert house.browser("mia").post(f"/jobs/{house.world.done}/push", data=form).status_code == 403
    assert "/push" not in house.browser("mia").get(f"/jobs/{house.world.done}").text
    house.app.state.ctx.settings.hub.members_push_to.append("Team")
    assert house.browser("mia").post(f"/jobs/{house.world.done}/push", data=form).status_code == 403
    assert house.browser("mia").post(f"/jobs/{house.world.done}/push", data=form | {"repo_id": "team/x"}).is_redirect
    assert house.browser("ada").post(f"/jobs/{house.world.done}/push", data=form).is_redirect


def test_what_was_read_for_everybodys_sake_is_not_handed_on(house: House) -> None:
    with house.ctx.db.session() as session:
        act_as(session, Actor(house.ids["max"], "max", Role.MEMBER))
        line = ordering.waiting(session, "gpu")
        assert line
        with pytest.raises(NotFoundError):
            jobs.get_job(session, line[0].id or 0)


def shown_to(browser: TestClient, path: str) -> str:
    """A page without the switch of its language, which is everybody's."""
    page = browser.get(path)
    assert page.status_code == 200
    return page.text.replace('method="post" action="/language"', "")


def test_a_viewer_sees_no_button_that_is_not_theirs(house: House) -> None:
    house.share(shared=True)
    browser = house.browser("vi")
    for path in ("/", "/jobs", "/datasets", "/models", "/workers", f"/datasets/{house.world.dataset}"):
        assert 'method="post"' not in shown_to(browser, path), path
    for path in (f"/jobs/{house.world.done}", f"/models/{house.world.done}", f"/jobs/{house.world.failed}"):
        assert 'method="post"' not in shown_to(browser, path), path


def test_one_person_has_so_many_jobs_and_no_more(house: House) -> None:
    with house.ctx.db.session(write=True) as session:
        max_ = Actor(house.ids["max"], "max", Role.MEMBER)
        act_as(session, max_, most_jobs=2)
        for _n in range(2):
            seeding.training(session, house.ctx, house.world.dataset)
        with pytest.raises(TooManyError):
            seeding.training(session, house.ctx, house.world.dataset)
        act_as(session, LOCAL, most_jobs=2)
        seeding.training(session, house.ctx, house.world.dataset)
