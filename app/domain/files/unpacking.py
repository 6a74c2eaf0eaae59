"""An uploaded file as a stream of its unpacked bytes, never more of them than was allowed."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from app.domain.datasets.refusals import FormatError
from app.domain.files.sniffing import packing_of

#: No text is packed better than this. What is, is taken as a bomb once it has grown to `SAFE_BYTES`.
MAX_RATIO = 300
SAFE_BYTES = 128_000_000


class Stream:
    """Reads on; counts what is read. Raises `FormatError` when the packed file is damaged or grows beyond bounds."""

    def __init__(self, packed: BinaryIO, plain: IO[bytes], most: int) -> None:
        self._packed, self._plain, self._most = packed, plain, most
        self._kept = b""
        self.position = 0

    @property
    def is_packed(self) -> bool:
        """The file as it lies there is something else than what is read."""
        return self._packed is not self._plain

    @property
    def packed_position(self) -> int:
        """Bytes of the file as it lies there that are read."""
        return self._packed.tell()

    def read(self, size: int = 1 << 20, /) -> bytes:
        """Up to `size` bytes, at least one unless the end is reached."""
        data, self._kept = self._kept[:size] or self._next(size), self._kept[size:]
        self.position += len(data)
        return data

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, which are read again afterwards."""
        while len(self._kept) < size and (more := self._next(size - len(self._kept))):
            self._kept += more
        return self._kept[:size]

    def _next(self, size: int) -> bytes:
        try:
            data = self._plain.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile, _zstd_error()) as exc:
            raise FormatError(_damaged(self.position)) from exc
        self._check(self.position + len(self._kept) + len(data))
        return data

    def _check(self, size: int) -> None:
        if not self.is_packed:
            return
        if size > SAFE_BYTES and size > MAX_RATIO * self._packed.tell():
            message = f"This file unpacks to more than {MAX_RATIO} times its size, as no text does. It is not read on."
            raise FormatError(message)
        if self._most and size > self._most:
            message = f"Unpacked, this file holds more than {self._most // 10**9} GB, which is all that is taken here."
            raise FormatError(message + " Split it, or ask for a higher limit (TUNEDECK_LIMITS__UNPACKED_GB).")


def _damaged(position: int) -> str:
    return f"The packed file is damaged or cut off (after {position:,} unpacked bytes). Pack it again and upload it."


def _zstd_error() -> type[Exception]:
    loaded = sys.modules.get("compression.zstd") or sys.modules.get("backports.zstd")
    return cast("type[Exception]", loaded.ZstdError) if loaded else EOFError


@contextmanager
def unpacked(path: Path, most: int = 0) -> Iterator[Stream]:
    """The file's bytes, unpacked if it is packed; `most`: as many, 0: any number. Raises `OSError`."""
    with path.open("rb") as packed:
        head = packed.read(4)
        packed.seek(0)
        match packing_of(head):
            case "gz":
                with gzip.GzipFile(fileobj=packed) as plain:
                    yield Stream(packed, cast("IO[bytes]", plain), most)
            case "zst":
                with _zstd(packed) as plain:
                    yield Stream(packed, plain, most)
            case _:
                yield Stream(packed, packed, most)


def _zstd(packed: BinaryIO) -> IO[bytes]:
    """Part of Python from 3.14 on. A window of more than 128 MB is refused by default."""
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdFile
    else:
        from backports.zstd import ZstdFile
    return cast("IO[bytes]", ZstdFile(packed))
