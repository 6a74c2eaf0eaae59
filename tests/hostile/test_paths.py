"""Nothing outside the folders is read or written, however a path is written."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest

from tests.hostile.site import Site, status_of
from tests.hostile.values import TRAVERSAL
from tests.web.seeding import lines, row

#: Of files that lie on this machine beside what is served.
_LEAKS = (b"root:x:0", b"[build-system]", b"def create_app")
#: A client takes these two out of an address before it sends it.
_NAMES = [name for name in TRAVERSAL if name not in {".", ".."}]
_CLIMBS = (
    "/static/../pyproject.toml",
    "/static/%2e%2e/pyproject.toml",
    "/static/%2e%2e%2fpyproject.toml",
    "/static/%252e%252e%252fpyproject.toml",
    "/static/..%5cpyproject.toml",
    "/static/....//pyproject.toml",
    "/static/.%00./pyproject.toml",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/../../../../../../../etc/passwd",
    "/static/\\..\\..\\etc\\passwd",
    "//etc/passwd",
    "/../../../../etc/passwd",
    "/artifacts/../../etc/passwd/download",
    "/artifacts/%2e%2e%2f1/download",
    "/artifacts/1%2f..%2f2/download",
    "/jobs/1/../../../etc/passwd",
    "/datasets/%2e%2e",
    "http://evil.example/static/../../etc/passwd",
)


@pytest.mark.parametrize("path", _CLIMBS)
def test_no_address_climbs(site: Site, path: str) -> None:
    """Sent as it is: a client would tidy it up first."""
    answer = site.say(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
    assert status_of(answer) in {200, 303, 307, 400, 404}
    assert not any(leak in answer for leak in _LEAKS)


@pytest.mark.parametrize("name", TRAVERSAL)
def test_a_file_name_leads_nowhere(site: Site, web: httpx.Client, name: str) -> None:
    before = _outside(site)
    answer = web.post("/datasets", files={"file": (name, lines(row(1), {"own": name}))}, data={"name": name})
    assert answer.status_code in {303, 422}
    assert _outside(site) == before
    for path in (site.ctx.settings.files_dir / "datasets").iterdir():
        assert path.resolve().is_relative_to(site.ctx.settings.files_dir)


def _outside(site: Site) -> set[str]:
    """Names beside the folder of bytes; those of SQLite come and go."""
    root = site.ctx.settings.root
    return {path.name for folder in (root, root.parent) for path in folder.iterdir() if ".db" not in path.name}


@pytest.mark.parametrize("name", TRAVERSAL)
def test_a_base_model_is_no_way_to_other_folders(site: Site, web: httpx.Client, name: str) -> None:
    wish = {"dataset_id": 1, "name": "x", "config": {"base_model": name}}
    answer = web.post("/api/jobs", json=wish)
    assert answer.status_code == 422
    assert "base_model" in str(answer.json())
    panel = web.post("/jobs/new/panel", data={"dataset_id": "1", "name": "x", "base_model": name})
    assert panel.status_code == 200
    assert "root:x" not in panel.text


@pytest.mark.parametrize("revision", [name for name in TRAVERSAL if "http" not in name] + ["a/../b", "x/../../../y"])
def test_a_revision_names_no_folder(web: httpx.Client, revision: str) -> None:
    config = {"base_model": "HuggingFaceTB/SmolLM2-135M-Instruct", "revision": revision}
    answer = web.post("/api/jobs", json={"dataset_id": 1, "name": "x", "config": config})
    assert answer.status_code == 422
    assert "config.revision" in answer.json()["error"]["fields"]


@pytest.mark.parametrize("folder", [*_NAMES, "a--b/../../data", ".--x", "--", "a--b%2f..%2f.."])
def test_only_folders_of_base_models_are_removed(site: Site, web: httpx.Client, folder: str) -> None:
    kept = site.ctx.settings.model_cache.parent / "a--kept"
    kept.mkdir(exist_ok=True)
    assert web.post(f"/storage/models/{quote(folder, safe='')}").status_code == 404
    assert kept.is_dir()


def test_a_download_has_a_name_of_ours(site: Site, web: httpx.Client) -> None:
    for artifact, kind in ((site.world.adapter, "application/zip"), (site.world.gguf, "application/octet-stream")):
        answer = web.get(f"/artifacts/{artifact}/download")
        assert answer.headers["content-type"] == kind
        assert answer.headers["content-disposition"].startswith("attachment;")
        assert answer.headers["x-content-type-options"] == "nosniff"
