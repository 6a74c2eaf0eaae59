"""Bytes go to S3 and come back on another host: whole, or not at all."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
import pytest
from typer.testing import CliRunner

from app import doctor
from app.cli import app
from app.core import s3
from app.core.s3 import MANIFEST, S3Storage
from app.core.settings import Settings, get_settings
from app.core.storage import KeyOutsideRootError, LocalStorage, StorageError, TransferStopped, open_storage
from tests.storage.conftest import NewHost


def names_on(storage: LocalStorage, key: str) -> set[str]:
    assert isinstance(storage, S3Storage)
    return {item["path"] for batch in obstore.list(storage._store, key) for item in batch}


def fill(storage: LocalStorage, key: str, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        storage.make_parent(f"{key}/{name}").write_bytes(data)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_file_comes_back_on_another_host(new_host: NewHost) -> None:
    here, there = new_host("a"), new_host("b")
    here.make_parent("datasets/rows.jsonl").write_bytes(b"{}\n" * 9)
    here.publish("datasets/rows.jsonl")
    assert there.ensure("datasets/rows.jsonl").read_bytes() == b"{}\n" * 9
    assert there.ensure("datasets/rows.jsonl").is_relative_to(there.root)


def test_a_large_file_goes_in_parts(new_host: NewHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_CHUNK", 5 << 20)  # the least that S3 takes
    here, there = new_host("a"), new_host("b")
    data = os.urandom((10 << 20) + 3)
    here.make_parent("runs/1/model.gguf").write_bytes(data)
    here.publish("runs/1/model.gguf")
    assert there.ensure("runs/1/model.gguf").read_bytes() == data


def test_a_folder_comes_back_with_all_its_files(new_host: NewHost) -> None:
    files = {"adapter.safetensors": b"weights" * 1000, "nested/config.json": b"{}", "empty": b""}
    here, there = new_host("a"), new_host("b")
    fill(here, "runs/1/a1/adapter", files)
    here.publish("runs/1/a1/adapter")
    assert content(there.ensure("runs/1/a1/adapter")) == files
    assert "runs/1/a1/adapter/" + MANIFEST in names_on(here, "runs/1/a1/adapter")


def test_a_folder_without_its_manifest_is_not_there(new_host: NewHost) -> None:
    here, there = new_host("a"), new_host("b")
    fill(here, "runs/1/c", {"one": b"1", "two": b"2"})
    here.publish("runs/1/c/one")  # as far as an upload came that broke off
    assert not there.ensure("runs/1/c").exists()


def test_what_was_never_stored_is_a_path_to_nothing(new_host: NewHost) -> None:
    assert not new_host("a").ensure("runs/1/nothing").exists()


def test_a_damaged_object_is_refused_and_leaves_nothing(new_host: NewHost) -> None:
    here, there = new_host("a"), new_host("b")
    fill(here, "runs/1/c", {"one": b"1" * 50, "two": b"2" * 50})
    here.publish("runs/1/c")
    assert isinstance(here, S3Storage)
    obstore.put(here._store, "runs/1/c/two", b"3" * 50)
    with pytest.raises(StorageError, match=r"runs/1/c/two on s3://.* is not what was stored there"):
        there.ensure("runs/1/c")
    assert not there.path("runs/1").exists()
    assert content(there.root).keys() <= {
        path.relative_to(there.root).as_posix() for path in there.root.rglob("*.lock")
    }


def test_a_transfer_that_is_stopped_leaves_nothing_to_be_seen(new_host: NewHost) -> None:
    here, there = new_host("a"), new_host("b")
    fill(here, "runs/1/c", {"one": b"1" * 50})
    stop = threading.Event()
    stop.set()
    with pytest.raises(TransferStopped):
        here.publish("runs/1/c", stop)
    assert not there.ensure("runs/1/c").exists()
    here.publish("runs/1/c")
    with pytest.raises(TransferStopped):
        there.ensure("runs/1/c", stop)
    assert not there.path("runs/1").exists()
    assert content(there.ensure("runs/1/c")) == {"one": b"1" * 50}


def test_many_may_ask_for_the_same_at_once(new_host: NewHost) -> None:
    here, there = new_host("a"), new_host("b")
    fill(here, "runs/1/c", {str(number): os.urandom(2000) for number in range(8)})
    here.publish("runs/1/c")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(there.ensure, ["runs/1/c"] * 8))
    assert {str(path) for path in found} == {str(there.path("runs/1/c"))}
    assert content(found[0]) == content(here.path("runs/1/c"))


def test_deleting_removes_everything_below_and_nothing_beside(new_host: NewHost) -> None:
    here = new_host("a")
    for key in ("runs/1/c", "runs/12/c"):
        fill(here, key, {"one": b"1"})
        here.publish(key)
    here.make_parent("runs/1/file").write_bytes(b"1")
    here.publish("runs/1/file")
    here.delete("runs/1")
    assert not here.path("runs/1").exists()
    assert names_on(here, "runs/1") == set()
    assert names_on(here, "runs/12") == {"runs/12/c/one", "runs/12/c/" + MANIFEST}
    here.delete("runs/1")


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../x", "", "a\x00b"])
def test_no_key_leads_out_of_the_root(new_host: NewHost, key: str) -> None:
    storage = new_host("a")
    for act in (storage.publish, storage.ensure, storage.discard, storage.withdraw, storage.delete):
        with pytest.raises(KeyOutsideRootError):
            act(key)


def test_a_manifest_that_names_a_place_outside_is_refused(new_host: NewHost, tmp_path: Path) -> None:
    here = new_host("a")
    assert isinstance(here, S3Storage)
    for inner in ("../../x", str(tmp_path / "x")):
        obstore.put(here._store, f"runs/1/c/{MANIFEST}", b'{"files": {"%s": {}}}' % inner.encode())
        with pytest.raises(KeyOutsideRootError):
            here.ensure("runs/1/c")


@pytest.mark.parametrize(
    "change, good, words",
    [
        ({}, True, "can be written to"),
        ({"s3_endpoint": "http://127.0.0.1:1"}, False, "TUNEDECK_S3_ENDPOINT"),
        ({"storage_url": "s3://no-such-bucket/x"}, False, "there is no such bucket"),
        ({"storage_url": "gs://bucket"}, False, "Write it as s3://bucket/prefix"),
    ],
)
def test_the_doctor_tries_the_storage(s3_settings: Settings, change: dict[str, str], good: bool, words: str) -> None:
    found = {each.what: each for each in doctor.examine(s3_settings.model_copy(update=change))}
    assert found["storage"].good is good
    assert words in found["storage"].detail


def test_a_missing_library_is_told_with_the_command(s3_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(StorageError, match=r"pip install 'tunedeck\[s3\]'"):
        open_storage(s3_settings)


def test_an_address_that_is_no_bucket_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEDECK_STORAGE_URL", "bucket/prefix")
    get_settings.cache_clear()
    try:
        result = CliRunner().invoke(app, ["up"])
    finally:
        get_settings.cache_clear()
    assert result.exit_code == 1
    assert "Write it as s3://bucket/prefix" in result.output


def test_without_a_storage_url_the_folder_is_all_there_is(settings: Settings) -> None:
    storage = open_storage(settings)
    assert type(storage) is LocalStorage
    assert not storage.remote
