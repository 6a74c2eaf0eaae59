"""Bytes on S3, or on a server that speaks its protocol; the folder is this host's working copy of them.

S3 renames nothing, so a folder is there once its manifest is: files first, the manifest last. A file is one object,
which S3 shows whole or not at all. The library's threads do not survive a fork: a process that forks others which use
this must not use it itself.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from app.core.settings import Settings
from app.core.storage import LocalStorage, StorageError, TransferStopped

#: The object below a folder's key that makes the folder one. No file of ours has this name.
MANIFEST = ".published.json"
#: Downloads arrive here before they are renamed; their locks lie beside them.
_ARRIVING = ".arriving"
_CHUNK = 8 << 20
#: S3 takes 10,000 parts for one object.
_MAX_PARTS = 9_000
_PARALLEL_PARTS = 4
_LOCK_SECONDS = 0.1
#: Where a machine in Amazon's cloud learns its role: asked last for credentials.
_ROLE_ADDRESS = "169.254.169.254"
#: One request may move a part for long, but not stand still; the callers try again on their own.
_TIMES: Any = {"timeout": "12h", "read_timeout": "120s", "connect_timeout": "5s"}
_RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}


class S3Storage(LocalStorage):
    """Files below `root`, published to and brought from `store`; `where` names it in sentences."""

    remote = True

    def __init__(self, root: Path, store: S3Store, where: str) -> None:
        super().__init__(root)
        self._store = store
        self._where = where

    @classmethod
    def of(cls, settings: Settings) -> S3Storage:
        """As the settings say; credentials are AWS's ordinary variables, or the machine's role."""
        address = urlsplit(settings.storage_url)
        given = {"endpoint": settings.s3_endpoint, "region": settings.s3_region}
        config: Any = {name: value for name, value in given.items() if value}
        store = S3Store(
            address.netloc,
            prefix=address.path.strip("/") or None,
            config=config,
            client_options=_TIMES | {"allow_http": settings.s3_endpoint.startswith("http://")},
            retry_config=_RETRIES,
        )
        return cls(settings.files_dir, store, settings.storage_url)

    def publish(self, key: str, stop: threading.Event | None = None, source: Path | None = None, /) -> None:
        """Upload the file or folder at `key`. Raises `OSError` for what can't be read here, and `StorageError`."""
        path, name = source or self.path(key), _normal(key)
        if not path.is_dir():
            self._put(path, name, stop)
            return
        with self._told("written to"):  # until the new manifest is there, the folder is not
            obstore.delete(self._store, f"{name}/{MANIFEST}")
        files = sorted(file for file in path.rglob("*") if file.is_file())
        named = {file.relative_to(path).as_posix(): file for file in files}
        entries = {inner: self._put(file, f"{name}/{inner}", stop) for inner, file in named.items()}
        with self._told("written to"):
            obstore.put(self._store, f"{name}/{MANIFEST}", json.dumps({"files": entries}).encode())

    def _put(self, path: Path, name: str, stop: threading.Event | None) -> dict[str, int | str]:
        """Upload one file, in parts when it is large; its entry of a manifest."""
        digest, size = hashlib.sha256(), path.stat().st_size
        with path.open("rb") as file:
            part = max(_CHUNK, -(-size // _MAX_PARTS))
            pieces = _pieces(file, part, digest, stop)
            with self._told("written to"):
                if size <= part:
                    obstore.put(self._store, name, b"".join(pieces))
                else:
                    obstore.put(self._store, name, pieces, chunk_size=part, max_concurrency=_PARALLEL_PARTS)
        return {"size": size, "sha256": digest.hexdigest()}

    def ensure(self, key: str, stop: threading.Event | None = None, /) -> Path:
        """The path of `key`, downloaded unless it is here. Any number of threads and processes may ask at once."""
        path = self.path(key)
        if path.exists():
            return path
        with self._alone(key, stop) as part:
            if not path.exists() and self._fetch(_normal(key), part, stop):
                path.parent.mkdir(parents=True, exist_ok=True)
                part.rename(path)
        return path

    def _fetch(self, name: str, part: Path, stop: threading.Event | None) -> bool:
        """Bring a folder or a file to `part`; False when there is neither."""
        manifest = self._read(f"{name}/{MANIFEST}")
        if manifest is None:
            return self._get(name, part, stop) is not None
        part.mkdir()
        for inner, entry in json.loads(manifest)["files"].items():
            self.path(inner)  # refuses a name that leads out of the folder
            (part / inner).parent.mkdir(parents=True, exist_ok=True)
            if self._get(f"{name}/{inner}", part / inner, stop) != entry:
                message = f"{name}/{inner} on {self._where} is not what was stored there."
                raise StorageError(message, lasting=True, damaged=True)
        return True

    def _read(self, name: str) -> bytes | None:
        with self._told("read from"):
            try:
                return bytes(obstore.get(self._store, name).bytes())
            except FileNotFoundError:
                return None

    def _get(self, name: str, part: Path, stop: threading.Event | None) -> dict[str, int | str] | None:
        """Download one object to `part`, down to the disk; its entry of a manifest, None when it is not there."""
        digest = hashlib.sha256()
        with self._told("read from"):
            try:
                found = obstore.get(self._store, name)
            except FileNotFoundError:
                return None
        with part.open("wb") as file:
            for piece in self._stream(found):
                _check(stop)
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
            if file.tell() != found.meta["size"]:
                message = f"{name} broke off while it was read from {self._where}."
                raise StorageError(message)
            return {"size": file.tell(), "sha256": digest.hexdigest()}

    def _stream(self, found: obstore.GetResult) -> Iterator[bytes]:
        with self._told("read from"):
            yield from found.stream(min_chunk_size=_CHUNK)

    def withdraw(self, key: str) -> None:
        """Remove the objects at `key` and below it, the manifest first."""
        self.path(key)
        name = _normal(key)
        with self._told("removed from"):
            obstore.delete(self._store, f"{name}/{MANIFEST}")
            below = [item["path"] for batch in obstore.list(self._store, name) for item in batch]
            obstore.delete(self._store, [*below, name])

    def check(self) -> None:
        """Write, read and remove one small object."""
        name, data = f"check-{secrets.token_hex(8)}", secrets.token_bytes(64)
        with self._told("written to"):
            obstore.put(self._store, name, data)
        if self._read(name) != data:
            message = f"{self._where} does not give back what was written."
            raise StorageError(message, lasting=True)
        with self._told("removed from"):
            obstore.delete(self._store, name)

    @contextmanager
    def _told(self, done: str) -> Iterator[None]:
        """Turn the library's exceptions into a sentence."""
        head = f"The storage {self._where} can't be {done}"
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as exc:
            raise StorageError(f"{head}: access is denied.", lasting=True) from exc
        except FileNotFoundError as exc:
            raise StorageError(f"{head}: there is no such bucket.", lasting=True) from exc
        except BaseError as exc:
            reason = str(exc).splitlines()[0][:300]
            if _ROLE_ADDRESS in reason:
                reason = "no credentials were found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            raise StorageError(f"{head}: {reason}") from exc

    @contextmanager
    def _alone(self, key: str, stop: threading.Event | None) -> Iterator[Path]:
        """One download of `key` at a time on this host, and an empty place for it. A dead process holds no lock."""
        folder = self.root / _ARRIVING
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / hashlib.sha256(_normal(key).encode()).hexdigest()[:32]
        with (folder / f"{part.name[:2]}.lock").open("wb") as lock:
            while not _locked(lock):
                _check(stop)
                (stop or threading.Event()).wait(_LOCK_SECONDS)
            _remove(part)
            try:
                yield part
            finally:
                _remove(part)


def _normal(key: str) -> str:
    return PurePosixPath(key).as_posix()


def _check(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise TransferStopped


def _pieces(file: IO[bytes], size: int, digest: Any, stop: threading.Event | None) -> Iterator[bytes]:
    """The bytes of `file`, hashed on the way; an upload fed by it is given up when it raises."""
    while piece := file.read(size):
        _check(stop)
        digest.update(piece)
        yield piece


def _locked(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
