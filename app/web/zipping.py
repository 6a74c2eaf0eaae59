"""A folder as a ZIP, sent while it is written: no temporary file, no compression (weights do not shrink)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

CHUNK = 1 << 20


class _Pipe(io.RawIOBase):
    """Takes what the ZIP writer writes; `take` hands it on. It cannot seek, so sizes follow the data."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._sent = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        piece = bytes(memoryview(data))  # type: ignore[arg-type]
        self._parts.append(piece)
        self._sent += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._sent

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def zip_stream(folder: Path, inside: str) -> Iterator[bytes]:
    """The files of `folder`, below a folder `inside` in the archive. Links are left out: they may lead anywhere."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield from _member(archive, pipe, path, f"{inside}/{path.relative_to(folder).as_posix()}")
    yield pipe.take()


def _member(archive: zipfile.ZipFile, pipe: _Pipe, path: Path, name: str) -> Iterator[bytes]:
    info = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
    with (
        path.open("rb") as source,
        archive.open(info, "w", force_zip64=info.file_size > zipfile.ZIP64_LIMIT // 2) as out,
    ):
        while chunk := source.read(CHUNK):
            out.write(chunk)
            yield pipe.take()
    yield pipe.take()
