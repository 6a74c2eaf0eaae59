"""A file is bytes: no archive in it is opened, nothing is unpickled or run, whatever it is called."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import httpx
import pytest

from app.domain.datasets.models import Dataset
from tests.hostile.site import Site
from tests.hostile.values import LINES, TEMPLATES, XSS
from tests.web.seeding import lines, row


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def _zip_bomb() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../../evil.jsonl", bytes(50_000_000))
    return packed.getvalue()


def _tar() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        link = tarfile.TarInfo("../../link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return packed.getvalue()


@pytest.mark.parametrize("kind", ["zip", "gzip", "tar", "pickle", "pickle 0", "torch", "executable", "utf-16"])
def test_it_ends_as_a_sentence(site: Site, web: httpx.Client, tmp_path: Path, kind: str) -> None:
    evil = _Evil(tmp_path / "ran")
    data = {
        "zip": _zip_bomb(),
        "gzip": gzip.compress(bytes(50_000_000)),
        "tar": _tar(),
        "pickle": pickle.dumps(evil),
        "pickle 0": pickle.dumps(evil, protocol=0),
        "torch": b"PK\x03\x04archive/data.pkl" + pickle.dumps(evil),
        "executable": b"\x7fELF\x02\x01\x01\x00" + bytes(1000),
        "utf-16": '{"messages": []}'.encode("utf-16"),
    }[kind]
    for name in ("rows.jsonl", f"rows.{kind}"):
        answer = web.post("/datasets", files={"file": (name, data)}, headers={"accept": "application/json"})
        if kind == "pickle 0":  # it is text: the intake finds no row in it
            assert answer.status_code in {201, 303}
            assert web.get(answer.json()["location"]).status_code == 200
        else:
            assert answer.status_code == 422
            assert answer.json()["error"]["field"] == "file"
        pasted = web.post("/datasets", files={"pasted": (None, data)}, headers={"accept": "application/json"})
        assert pasted.status_code in {201, 422}
    assert not evil.path.exists()
    assert site.process.poll() is None


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_packed_body_is_not_unpacked(web: httpx.Client, encoding: str) -> None:
    head = {"content-encoding": encoding}
    bomb = gzip.compress(bytes(50_000_000))
    for path, kind in (("/api/jobs", "application/json"), ("/jobs", "application/x-www-form-urlencoded")):
        assert web.post(path, content=bomb, headers=head | {"content-type": kind}).status_code in {400, 422}


@pytest.mark.parametrize("name", [*LINES, *XSS, *TEMPLATES, "a" * 5000, ".", "..", "/", "\\", "con.jsonl", "a.php", ""])
def test_a_file_may_be_called_anything(any_site: Site, name: str) -> None:
    body = lines(row(1), {"own": name, "site": any_site.port})
    with any_site.browser() as web:
        made = web.post("/datasets", files={"file": (name, body)}, data={"name": name[:300]})
        assert made.status_code in {303, 422}
        if made.status_code == 303:
            with any_site.ctx.db.session() as session:
                dataset = session.get_one(Dataset, int(made.headers["location"].rpartition("/")[2]))
            assert "/" not in dataset.filename
            assert (dataset.name + dataset.filename).isprintable() or "\u202e" in name or "\u2028" in name
            assert dataset.source_key.startswith("datasets/src-")
            assert web.get(made.headers["location"]).status_code == 200


@pytest.mark.parametrize("name", [*LINES, *XSS, *TEMPLATES, "a" * 5000, "..", "/", "\\", ""])
def test_so_may_one_that_comes_in_parts(any_site: Site, name: str) -> None:
    body = lines(row(2), {"own": name, "site": any_site.port})
    head = {"accept": "application/json"}
    with any_site.browser() as web:
        begun = web.post("/datasets/uploads", data={"filename": name, "size": len(body), "modified": "7"}, headers=head)
        assert begun.status_code in {200, 422}
        if begun.status_code == 200:
            here = f"/datasets/uploads/{begun.json()['id']}"
            assert web.patch(f"{here}?offset=0", content=body, headers=head).json() == {"received": len(body)}
            assert web.get("/datasets/new").status_code == 200
            made = web.post(f"{here}/finish", headers=head)
            assert web.get(made.json()["location"]).status_code == 200


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"size": "-1"},
        {"size": "1e9"},
        {"size": "9" * 40},
        {"size": "1", "modified": "x"},
        {"size": "10", "filename": "\r\n"},
    ],
)
def test_odd_figures_of_an_upload_are_refused_or_taken_as_none(web: httpx.Client, form: dict[str, str]) -> None:
    answer = web.post("/datasets/uploads", data={"filename": "a.jsonl"} | form, headers={"accept": "application/json"})
    assert answer.status_code in {200, 413, 422}
    for offset in ("-1", "x", str(2**63)):
        assert web.patch(f"/datasets/uploads/1?offset={offset}", content=b"x").status_code in {404, 409, 422}


def _parts(*parts: bytes) -> bytes:
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"


_FILE = b'content-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}'


@pytest.mark.parametrize(
    "body",
    [
        _parts(*[b'content-disposition: form-data; name="f%d"\r\n\r\nx' % i for i in range(20_000)]),
        _parts(b"x-long: " + b"a" * 1_000_000 + b"\r\n" + _FILE),
        _parts(*[b"a: b\r\n" * 20_000 + _FILE]),
        _parts(b'content-disposition: form-data; name="name"\r\n\r\n' + b"n" * 3_000_000),
        _parts(_FILE) + b"x" * 3_000_000,
        _parts(_FILE)[:-8],
        b"--x\r\n" * 100_000,
        b"--x\r\ncontent-disposition: form-data; name=file; filename=\r\n\r\n\r\n--x--",
        b"\r\n" * 100_000,
    ],
    ids=["parts", "header", "headers", "field", "after the end", "cut", "boundaries", "no name", "lines"],
)
def test_a_form_around_a_file_is_bounded(site: Site, web: httpx.Client, body: bytes) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x", "accept": "application/json"}
    answer = web.post("/datasets", content=body, headers=headers)
    assert answer.status_code in {400, 413, 422}
    assert answer.json()["error"]["message"]
    assert not list(site.ctx.settings.files_dir.rglob("*.part"))


@pytest.mark.parametrize("boundary", ["", "a" * 10_000, "\x01", '"', "--", "é"])
def test_an_odd_boundary_is_refused_in_words(web: httpx.Client, boundary: str) -> None:
    head = {b"content-type": f"multipart/form-data; boundary={boundary}".encode("latin-1", "replace")}
    assert web.post("/datasets", content=_parts(_FILE), headers=head).status_code in {400, 422}


def test_half_of_a_surrogate_pair_in_a_row_does_no_harm(web: httpx.Client) -> None:
    bad = rb'{"messages": [{"role": "user", "content": "\ud800"}, {"role": "assistant", "content": "\udfff"}]}'
    made = web.post("/datasets", files={"file": ("x.jsonl", bad + b"\n" + lines(row(3)))})
    assert web.get(made.headers["location"]).status_code == 200
