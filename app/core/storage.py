"""Where bytes live: a folder, with S3 behind it where a team shares them (`s3.py`).

Keys are relative paths with forward slashes; none leads out of the root. Children and pages work on paths below the
root only: what they need is brought there by `ensure`, and what they made is shown to other hosts by `publish`.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import threading
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from app.core.settings import Settings


class KeyOutsideRootError(ValueError):
    """A storage key that would leave the root."""


class StorageError(Exception):
    """Bytes could not be moved; the text is a sentence. `lasting`: trying again will not help.

    `damaged`: they are there, but not what was stored.
    """

    def __init__(self, message: str, *, lasting: bool = False, damaged: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting
        self.damaged = damaged


class TransferStopped(Exception):
    """The caller set the `stop` of a transfer; nothing half-made is left to be seen."""


class LocalStorage:
    """Files below `root`, which everyone who needs them can read."""

    #: Whether other hosts see only what was published.
    remote = False

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def path(self, key: str) -> Path:
        """The file or folder of `key`. Raises `KeyOutsideRootError` for an absolute, empty or climbing key."""
        parts = PurePosixPath(key).parts
        if not parts or PurePosixPath(key).is_absolute() or ".." in parts or "\x00" in key:
            raise KeyOutsideRootError(key)
        path = (self.root / Path(*parts)).resolve()
        if not path.is_relative_to(self.root):
            raise KeyOutsideRootError(key)
        return path

    def key(self, path: Path) -> str:
        """The key of a file below the root."""
        return path.resolve().relative_to(self.root).as_posix()

    def make_parent(self, key: str) -> Path:
        """The path of `key`, its folder made."""
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def publish(self, key: str, _stop: threading.Event | None = None, _source: Path | None = None, /) -> None:
        """Make the file or folder at `key` readable by other hosts; here it is already. Raises `StorageError`.

        `source`: where its bytes lie for now, if not at the path of `key`.
        """
        self.path(key)

    def ensure(self, key: str, _stop: threading.Event | None = None, /) -> Path:
        """The path of `key`, its bytes brought to this host if they are elsewhere. A path to nothing if they are gone.

        Raises `StorageError`, and `TransferStopped` once `stop` is set.
        """
        return self.path(key)

    def discard(self, key: str) -> None:
        """Remove this host's file or folder; nothing happens when it is gone. Raises `OSError` when it stays."""
        path = self.path(key)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
            if path.exists():  # somebody still writes there
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path))
        else:
            path.unlink(missing_ok=True)

    def withdraw(self, key: str) -> None:
        """Take back what was published at `key` and below it; this host's files stay. Raises `StorageError`."""

    def delete(self, key: str) -> None:
        """Remove a file or a folder for everyone; nothing happens when it is gone. Raises `StorageError`."""
        self.discard(key)
        self.withdraw(key)

    def check(self) -> None:
        """Try to write, read and remove something small. Raises `StorageError`."""

    def free_bytes(self) -> int:
        """Bytes left on the disk below the root."""
        self.root.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.root).free


def storage_refusal(settings: Settings) -> str:
    """Why this process can't use the storage its settings name; empty when it can."""
    parts = urlsplit(settings.storage_url)
    if not settings.storage_url:
        return ""
    if parts.scheme != "s3" or not parts.hostname:
        return f"TUNEDECK_STORAGE_URL is “{settings.storage_url}”. Write it as s3://bucket/prefix, or leave it empty."
    if importlib.util.find_spec("obstore") is None:
        return "TUNEDECK_STORAGE_URL names S3, and its library is missing. Run: pip install 'tunedeck[s3]'"
    return ""


def open_storage(settings: Settings) -> LocalStorage:
    """The storage that the settings name. Raises `StorageError` when this process can't use it."""
    if refusal := storage_refusal(settings):
        raise StorageError(refusal, lasting=True)
    if not settings.storage_url:
        return LocalStorage(settings.files_dir)
    from app.core.s3 import S3Storage  # its library is loaded only where it is used

    return S3Storage.of(settings)
