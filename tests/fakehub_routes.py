"""The stand-in Hub's routes: what huggingface_hub asks of the real one when it downloads and pushes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import yaml
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from tests.fakehub_store import LFS_ENDINGS, LFS_FROM_BYTES, Entry, Refusal, Repo, Store

WRITE_TOKEN, READ_TOKEN, BAD_TOKEN = "hf_alice_may_write_1234", "hf_bob_may_read_5678", "hf_nobody_knows_this"
_BLOCK = 1 << 16
_USERS = {WRITE_TOKEN: ("alice", "write"), READ_TOKEN: ("bob", "read")}


def _asker(request: Request, *, writing: bool = False, namespace: str = "") -> str | None:
    """The asker's name, or None without a token."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if token not in _USERS:
        if token or writing:
            raise Refusal(401, "Invalid username or password.")
        return None
    name, role = _USERS[token]
    if writing and role != "write":
        raise Refusal(403, "Forbidden: you must use a write token to upload to a repository.")
    if writing and namespace not in {"", name}:
        raise Refusal(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
    return name


def _repo(hub: Store, request: Request, repo_id: str, *, writing: bool = False, content: bool = False) -> Repo:
    owner = repo_id.split("/", maxsplit=1)[0]
    asker = _asker(request, writing=writing, namespace=owner if writing else "")
    repo = hub.repos.get(repo_id)
    if repo is None or (repo.private and asker != owner):
        raise Refusal(404 if asker else 401, "Repository not found", "RepoNotFound")
    if content and repo.gated and asker != owner:
        raise Refusal(403 if asker else 401, f"Access to model {repo_id} is restricted.", "GatedRepo")
    return repo


def _described(name: str, entry: Entry) -> dict[str, Any]:
    lfs = {"oid": entry.sha256, "size": len(entry.data), "pointerSize": 134}
    known = {"type": "file", "path": name, "size": len(entry.data), "oid": entry.git_oid}
    return known | ({"lfs": lfs} if entry.lfs else {})


def _sibling(name: str, entry: Entry) -> dict[str, Any]:
    known = {"rfilename": name, "blobId": entry.git_oid, "size": len(entry.data)}
    lfs = {"sha256": entry.sha256, "size": len(entry.data), "pointerSize": 134}
    return known | ({"lfs": lfs} if entry.lfs else {})


def create_app(hub: Store) -> FastAPI:
    """The Hub's routes over `hub`'s store."""
    app = FastAPI(openapi_url=None)
    app.include_router(_accounts(hub))
    app.include_router(_uploads(hub))
    app.include_router(_objects(hub))
    app.include_router(_downloads(hub))

    @app.exception_handler(Refusal)
    async def refuse(_request: Request, exc: Refusal) -> JSONResponse:
        headers = {"X-Error-Message": exc.message} | ({"X-Error-Code": exc.code} if exc.code else {})
        return JSONResponse({"error": exc.message}, exc.status, headers)

    @app.middleware("http")
    async def note(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        hub.requests.append((request.method, request.url.path, response.status_code, dict(request.headers)))
        return response

    return app


def _accounts(hub: Store) -> APIRouter:
    router = APIRouter()

    @router.get("/api/whoami-v2")
    async def whoami(request: Request) -> dict[str, Any]:
        name = _asker(request)
        if name is None:
            raise Refusal(401, "Invalid username or password.")
        role = next(role for user, role in _USERS.values() if user == name)
        auth = {"type": "access_token", "accessToken": {"displayName": "test", "role": role}}
        return {"type": "user", "id": name, "name": name, "fullname": name, "orgs": [], "auth": auth}

    @router.post("/api/validate-yaml")
    async def validate() -> dict[str, list[str]]:
        return {"errors": [], "warnings": []}

    @router.post("/api/repos/create")
    async def create(request: Request) -> JSONResponse:
        wanted = await request.json()
        owner: str = wanted.get("organization") or _asker(request, writing=True) or ""
        _asker(request, writing=True, namespace=owner)
        repo_id = f"{owner}/{wanted['name']}"
        url = f"{hub.endpoint}/{repo_id}"
        if repo_id in hub.repos:
            return JSONResponse({"error": "You already created this model repo", "url": url}, 409)
        private = wanted.get("private", wanted.get("visibility") == "private")
        hub.repos[repo_id] = Repo(bool(private))
        hub.repos[repo_id].commit({".gitattributes": Entry(b"*.safetensors filter=lfs\n", lfs=False)})
        return JSONResponse({"url": url, "name": repo_id, "id": repo_id})

    @router.delete("/api/repos/delete")
    async def delete(request: Request) -> dict[str, str]:
        wanted = await request.json()
        repo_id = f"{wanted.get('organization') or _asker(request, writing=True)}/{wanted['name']}"
        _repo(hub, request, repo_id, writing=True)
        del hub.repos[repo_id]
        return {}

    return router


def _uploads(hub: Store) -> APIRouter:
    router = APIRouter()

    @router.post("/api/models/{owner}/{name}/preupload/{revision}")
    async def preupload(owner: str, name: str, revision: str, request: Request) -> dict[str, Any]:
        oid, files = _repo(hub, request, f"{owner}/{name}", writing=True).at(revision)
        found = [_how_to_upload(wanted, files) for wanted in (await request.json())["files"]]
        return {"files": found, "commitOid": oid}

    @router.post("/api/models/{owner}/{name}/commit/{revision}")
    async def commit(owner: str, name: str, revision: str, request: Request) -> dict[str, Any]:
        repo = _repo(hub, request, f"{owner}/{name}", writing=True)
        files = dict(repo.at(revision)[1])
        for line in (await request.body()).splitlines():
            _apply(hub, files, json.loads(line))
        oid = repo.commit(files)
        url = f"{hub.endpoint}/{owner}/{name}/commit/{oid}"
        return {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""}

    return router


def _objects(hub: Store) -> APIRouter:
    router = APIRouter()

    @router.post("/{owner}/{name}.git/info/lfs/objects/batch")
    async def batch(owner: str, name: str, request: Request) -> dict[str, Any]:
        _repo(hub, request, f"{owner}/{name}", writing=True)
        wanted = (await request.json())["objects"]
        stored = sum(len(data) for data in hub.objects.values())
        if hub.quota is not None and stored + sum(one["size"] for one in wanted) > hub.quota:
            raise Refusal(403, "Private repository storage limit reached, please upgrade your plan")
        return {"transfer": "basic", "objects": [_lfs_answer(hub, one) for one in wanted]}

    @router.put("/_lfs/{oid}")
    async def put(oid: str, request: Request) -> Response:
        data = b""
        async for chunk in request.stream():
            data += chunk
            await anyio.sleep(hub.block_seconds)
        if hashlib.sha256(data).hexdigest() != oid:
            raise Refusal(400, "sha256 mismatch")
        hub.objects[oid] = data
        return Response()

    @router.post("/_lfs/{oid}/verify")
    async def verify(oid: str) -> dict[str, str]:
        if oid not in hub.objects:
            raise Refusal(404, "object missing")
        return {}

    return router


def _how_to_upload(wanted: dict[str, Any], files: dict[str, Entry]) -> dict[str, Any]:
    old = files.get(wanted["path"])
    binary = b"\0" in base64.b64decode(wanted.get("sample", ""))
    lfs = wanted["path"].endswith(LFS_ENDINGS) or wanted["size"] > LFS_FROM_BYTES or binary
    mode = "lfs" if lfs else "regular"
    return {"path": wanted["path"], "uploadMode": mode, "shouldIgnore": False, "oid": old.etag if old else None}


def _lfs_answer(hub: Store, wanted: dict[str, Any]) -> dict[str, Any]:
    known = {"oid": wanted["oid"], "size": wanted["size"]}
    if wanted["oid"] in hub.objects:
        return known
    href = f"{hub.endpoint}/_lfs/{wanted['oid']}"
    return known | {"actions": {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}}


def _apply(hub: Store, files: dict[str, Entry], operation: dict[str, Any]) -> None:
    """One line of a commit."""
    value = operation["value"]
    match operation["key"]:
        case "file":
            files[value["path"]] = Entry(base64.b64decode(value["content"]), lfs=False)
        case "lfsFile":
            if value["oid"] not in hub.objects:
                raise Refusal(400, f"LFS object {value['oid']} was not uploaded")
            files[value["path"]] = Entry(hub.objects[value["oid"]], lfs=True)
        case "deletedFile":
            files.pop(value["path"], None)
        case "deletedFolder":
            for name in [name for name in files if name.startswith(value["path"].rstrip("/") + "/")]:
                del files[name]
        case _:
            pass  # the header


def _downloads(hub: Store) -> APIRouter:
    router = APIRouter()

    @router.get("/api/models/{owner}/{name}")
    @router.get("/api/models/{owner}/{name}/revision/{revision}")
    async def info(owner: str, name: str, request: Request, revision: str = "main") -> dict[str, Any]:
        repo = _repo(hub, request, f"{owner}/{name}")
        oid, files = repo.at(revision)
        siblings = [_sibling(path, entry) for path, entry in files.items()]
        known = {
            "id": f"{owner}/{name}",
            "modelId": f"{owner}/{name}",
            "author": owner,
            "sha": oid,
            "siblings": siblings,
        }
        flags = {"private": repo.private, "gated": "manual" if repo.gated else False, "disabled": False}
        return known | flags | {"tags": [], "downloads": 0, "likes": 0}

    @router.get("/api/datasets/{owner}/{name}")
    @router.get("/api/datasets/{owner}/{name}/revision/{revision:path}")
    async def dataset_info(owner: str, name: str, request: Request, revision: str = "main") -> dict[str, Any]:
        known = await info(owner, name, request, revision)
        readme = _repo(hub, request, f"{owner}/{name}").at(revision)[1].get("README.md")
        text = readme.data.decode() if readme else ""
        front = text.split("---")[1] if text.startswith("---") else ""
        return known | ({"cardData": yaml.safe_load(front)} if front else {})

    @router.get("/api/models/{owner}/{name}/tree/{revision}")
    @router.get("/api/models/{owner}/{name}/tree/{revision}/{path:path}")
    async def tree(owner: str, name: str, revision: str, request: Request, path: str = "") -> list[dict[str, Any]]:
        files = _repo(hub, request, f"{owner}/{name}").at(revision)[1]
        return [_described(n, e) for n, e in files.items() if not path or n.startswith(path.rstrip("/") + "/")]

    @router.post("/api/models/{owner}/{name}/paths-info/{revision}")
    async def paths_info(owner: str, name: str, revision: str, request: Request) -> list[dict[str, Any]]:
        files = _repo(hub, request, f"{owner}/{name}").at(revision)[1]
        if "json" in request.headers.get("content-type", ""):
            wanted = (await request.json())["paths"]
        else:
            wanted = (await request.form()).getlist("paths")
        return [_described(path, files[path]) for path in wanted if path in files]

    @router.api_route("/datasets/{owner}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
    @router.api_route("/{owner}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
    async def resolve(owner: str, name: str, revision: str, path: str, request: Request) -> Response:
        oid, files = _repo(hub, request, f"{owner}/{name}", content=True).at(revision)
        if path not in files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": oid, "X-Error-Message": "Entry not found"}
            return JSONResponse({"error": "Entry not found"}, 404, headers)
        return _file(hub, request, oid, files[path])

    return router


def _file(hub: Store, request: Request, oid: str, entry: Entry) -> Response:
    """Whole, or from `Range: bytes=N-` on."""
    total = len(entry.data)
    headers = {"X-Repo-Commit": oid, "ETag": f'"{entry.etag}"', "Accept-Ranges": "bytes"}
    if entry.lfs:
        headers |= {"X-Linked-Etag": f'"{entry.sha256}"', "X-Linked-Size": str(total)}
    wanted = request.headers.get("range", "").removeprefix("bytes=")
    start = int(wanted.split("-")[0]) if wanted else 0
    if start and start >= total:
        return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{total}"})
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
    headers["Content-Length"] = str(total - start)
    body = b"" if request.method == "HEAD" else entry.data[start:]
    return StreamingResponse(
        _blocks(hub, body), 206 if wanted else 200, headers=headers, media_type="application/octet-stream"
    )


async def _blocks(hub: Store, data: bytes) -> AsyncIterator[bytes]:
    cut, sent = hub.cut_after, 0
    for at in range(0, len(data), _BLOCK):
        block = data[at : at + _BLOCK]
        if cut is not None and sent + len(block) > cut:
            hub.cut_after = None
            yield block[: cut - sent]
            raise ConnectionError("cut off on purpose")
        yield block
        sent += len(block)
        await anyio.sleep(hub.block_seconds)
