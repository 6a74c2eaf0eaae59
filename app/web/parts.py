"""The file of an upload that comes in parts: held by one writer at a time, hashed as it grows. All of it blocks."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from app.domain.errors import ConflictError

if TYPE_CHECKING:
    from hashlib import _Hash

#: Digests of uploads that are not whole yet, which are kept between two parts. Those that fall out are made anew.
_MOST_KEPT = 1_000
_CHUNK = 1 << 20
_BUSY = "Another window is sending this file. Wait a moment."


class Digests:
    """By key: how far a file is hashed. Only in this process: what another one wrote is read again."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[int, _Hash]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str, size: int) -> _Hash | None:
        """The digest of the first `size` bytes, if it is known."""
        with self._lock:
            at, digest = self._kept.pop(key, (-1, None))
        return digest if at == size else None

    def keep(self, key: str, size: int, digest: _Hash) -> None:
        """Until the next part."""
        with self._lock:
            self._kept[key] = size, digest
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)


class PartFile:
    """The bytes that have come, open to write on. Raises `ConflictError` when somebody else holds it.

    The lock is the file's own, so that it ends with whoever holds it, also one that was killed.
    """

    def __init__(self, path: Path, key: str, digests: Digests) -> None:
        self._key, self._digests = key, digests
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(self._fd)
            raise ConflictError(_BUSY, field="file") from exc
        self.length = os.fstat(self._fd).st_size
        self._digest: _Hash | None = None
        self.end = 0

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)

    def go_to(self, start: int) -> None:
        """What lies beyond the first `start` bytes was never counted, and goes. What lies before it is hashed."""
        os.ftruncate(self._fd, start)
        self._digest = self._digests.take(self._key, start) or self._read_again(start)
        os.lseek(self._fd, start, os.SEEK_SET)
        self.end = start

    def _read_again(self, size: int) -> _Hash:
        digest, at = hashlib.sha256(), 0
        while at < size and (data := os.pread(self._fd, min(_CHUNK, size - at), at)):
            digest.update(data)
            at += len(data)
        return digest

    def write(self, pieces: list[bytes]) -> None:
        """Write on."""
        assert self._digest is not None
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(self._fd, view) :]
            self._digest.update(piece)
            self.end += len(piece)

    def keep(self) -> None:
        """All up to `end` was counted: its digest is kept for the next part."""
        assert self._digest is not None
        self._digests.keep(self._key, self.end, self._digest)

    def sha256(self) -> str:
        """Of all of it."""
        assert self._digest is not None
        return self._digest.hexdigest()
