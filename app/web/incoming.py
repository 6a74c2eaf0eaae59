"""Takes one uploaded file off the wire: parsed as it comes, written and hashed in a thread, never held in memory."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import anyio.to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from app.core.storage import LocalStorage
from app.domain.errors import DomainError, InvalidError, TooLargeError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

#: Bytes gathered before a thread writes them.
BATCH = 1 << 20
MAX_FIELD_BYTES = 1_000


@dataclass(frozen=True)
class Received:
    """An upload that is whole. `key`: its bytes, still under a temporary name."""

    filename: str
    name: str
    key: str
    size: int
    sha256: str


class _Sink:
    """The `.part` file. Every method blocks: call it in a thread."""

    def __init__(self, storage: LocalStorage) -> None:
        self.key = f"uploads/{secrets.token_hex(12)}.part"
        self._storage = storage
        self._hash = hashlib.sha256()
        self._file: BinaryIO = storage.make_parent(self.key).open("xb")
        self.size = 0

    def write(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self._file.write(piece)
            self._hash.update(piece)
            self.size += len(piece)

    def finish(self) -> str:
        self._file.close()
        return self._hash.hexdigest()

    def discard(self) -> None:
        self._file.close()
        self._storage.discard(self.key)


class _Form:
    """Callbacks of the multipart parser: collects pieces of the file field and the small fields."""

    def __init__(self, file_field: str, max_bytes: int) -> None:
        self.filename = ""
        self.has_file = False
        self.fields: dict[str, bytearray] = {}
        self.pieces: list[bytes] = []
        self.pending = 0
        self.complete = False
        self._wanted, self._left = file_field, max_bytes
        self._header, self._value = b"", b""
        self._field = ""
        self._in_file = False

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def take(self) -> list[bytes]:
        """The pieces gathered since the last call."""
        pieces, self.pieces, self.pending = self.pieces, [], 0
        return pieces

    def _begin(self) -> None:
        self._field, self._in_file = "", False

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition(self._value)
        self._header, self._value = b"", b""

    def _disposition(self, value: bytes) -> None:
        options = parse_options_header(value)[1]
        self._field = options.get(b"name", b"").decode(errors="replace")
        filename = options.get(b"filename", b"").decode(errors="replace").replace("\\", "/").rsplit("/", 1)[-1]
        self._in_file = self._field == self._wanted and bool(filename) and not self.has_file
        if self._in_file:
            self.filename, self.has_file = filename[:200], True

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._left -= end - start
            if self._left < 0:
                raise TooLargeError("This file is larger than the server accepts.", field="file")
            self.pieces.append(data[start:end])
            self.pending += end - start
        elif self._field:
            value = self.fields.setdefault(self._field, bytearray())
            value += data[start : min(end, start + MAX_FIELD_BYTES - len(value))]

    def _end(self) -> None:
        self.complete = True


async def receive(request: Request, storage: LocalStorage, *, max_bytes: int, file_field: str = "file") -> Received:
    """Read the whole multipart body. Raises `DomainError`; leaves no file behind unless it returns."""
    boundary = _boundary(request)
    form = _Form(file_field, max_bytes)
    sink = await anyio.to_thread.run_sync(_Sink, storage)
    try:
        await _drain(request, MultipartParser(boundary, form.callbacks()), form, sink)
        return _received(form, sink, await anyio.to_thread.run_sync(sink.finish))
    except BaseException:
        # A cancelled request must not leave its bytes behind either; removing one file is quick.
        sink.discard()
        raise


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise InvalidError("Choose a file to upload.", field="file")
    return options[b"boundary"]


async def _drain(request: Request, parser: MultipartParser, form: _Form, sink: _Sink) -> None:
    try:
        async for chunk in request.stream():
            parser.write(chunk)
            if form.pending >= BATCH:
                await anyio.to_thread.run_sync(sink.write, form.take())
        parser.finalize()
    except FormParserError as exc:
        raise InvalidError("The upload could not be read. Send the file again.", field="file") from exc
    except ClientDisconnect as exc:
        raise DomainError("The upload was broken off.", field="file") from exc
    await anyio.to_thread.run_sync(sink.write, form.take())


def _received(form: _Form, sink: _Sink, sha256: str) -> Received:
    if not form.has_file:
        raise InvalidError("Choose a file to upload.", field="file")
    if not form.complete:
        raise InvalidError("The upload broke off before its end. Send the file again.", field="file")
    if sink.size == 0:
        raise InvalidError("This file is empty. Choose a JSON Lines file with at least one conversation.", field="file")
    name = bytes(form.fields.get("name", b"")).decode(errors="replace").strip()
    return Received(form.filename, name[:200], sink.key, sink.size, sha256)
