"""Where bytes live: a folder. Keys are relative paths with forward slashes; none leads out of the root."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath


class KeyOutsideRootError(ValueError):
    """A storage key that would leave the root."""


class LocalStorage:
    """Files below `root`."""

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

    def delete(self, key: str) -> None:
        """Remove a file or a folder; nothing happens when it is gone."""
        path = self.path(key)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Bytes left on the disk below the root."""
        self.root.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.root).free
