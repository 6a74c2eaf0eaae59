"""Every road on which the name of a model, a revision or a repository comes in refuses what could lead elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.jobs import service as jobs
from app.domain.models.catalogue import BUNDLED
from tests.web import seeding
from tests.web.test_new_job import fields

MODELS = ["../../etc", "/etc", "~root", "a/../b", "a--b/c", "é/b", "a/b.lock", "https://x/y", "a/b/c", "/proc/self/cwd"]
REVISIONS = ["../../x", "a/../../b", "/abs", "x.lock", "a//b", "mäin", "a b", "-x", "refs/heads/../x"]
REPOSITORIES = ["../x", "a/../b", "a--b/c", "é/b", "a/b/c", "a/b\n\nx", "a/b.git", "https://x/y", "a"]


@pytest.fixture
def before(ctx: Context, world: seeding.World) -> int:
    """How many jobs there are."""
    return count(ctx)


def count(ctx: Context) -> int:
    with ctx.db.session() as session:
        return len(jobs.list_jobs(session, limit=1000))


@pytest.mark.parametrize(
    "wrong", [{"base_model": name} for name in MODELS] + [{"revision": name} for name in REVISIONS]
)
def test_the_form_the_api_and_what_repeats_a_job(
    client: TestClient, ctx: Context, world: seeding.World, before: int, wrong: dict[str, str]
) -> None:
    (field,) = wrong
    config = {"base_model": BUNDLED} | wrong
    page = client.post("/jobs", data=fields(world.dataset, **config))
    assert (page.status_code, f'id="f-{field}-error"' in page.text or "field-error" in page.text) == (422, True)
    wish = {"dataset_id": world.dataset, "name": "x", "config": config}
    for path, body in (
        ("/api/jobs", wish),
        (f"/api/jobs/{world.done}/duplicate", {"config": wrong}),
        (f"/api/jobs/{world.done}/further", {"config": wrong}),
    ):
        answer = client.post(path, json=body)
        assert answer.status_code == 422, (path, answer.text)
        assert field in answer.text
    client.post("/jobs/new/panel", data=fields(world.dataset, **config))  # it starts audits
    assert count(ctx) == before


@pytest.mark.parametrize("name", MODELS)
def test_an_audit(client: TestClient, ctx: Context, world: seeding.World, before: int, name: str) -> None:
    assert client.post(f"/datasets/{world.dataset}/audit", data={"base_model": name}).status_code == 422
    assert count(ctx) == before


@pytest.mark.parametrize("name", REPOSITORIES)
def test_a_push(client: TestClient, ctx: Context, world: seeding.World, before: int, name: str) -> None:
    wish = {"repo_id": name, "what": "adapter:"}
    assert client.post(f"/jobs/{world.done}/push", data=wish).status_code == 422
    assert count(ctx) == before


def test_a_folder_below_a_root_is_taken_until_it_holds_a_way_out(
    client: TestClient, ctx: Context, world: seeding.World, tmp_path: Path
) -> None:
    folder = tmp_path / "roots" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"x")
    ctx.settings.models.local_roots = [tmp_path / "roots"]
    wish = {"dataset_id": world.dataset, "name": "x", "config": {"base_model": str(folder)}}
    assert client.post("/api/jobs", json=wish).status_code == 201
    (folder / "tokenizer.json").symlink_to("/etc/passwd")
    answer = client.post("/api/jobs", json=wish)
    assert answer.status_code == 422
    assert "outside the allowed roots" in answer.text


@pytest.mark.parametrize("name", MODELS)
def test_a_form_shows_nothing_of_a_folder_that_is_not_allowed(
    client: TestClient, world: seeding.World, name: str
) -> None:
    answer = client.post("/jobs/new/panel", data=fields(world.dataset, base_model=name))
    assert answer.status_code == 200
    assert "config.json" not in answer.text
