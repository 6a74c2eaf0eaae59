"""Takes one uploaded file off the wire: parsed as it comes, written and hashed in a thread, never held in memory."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import anyio.to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from app.core.storage import LocalStorage
from app.domain.errors import DomainError, InvalidError, TooLargeError
from app.domain.uploads.service import new_key

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

#: Bytes gathered before a thread writes them.
BATCH = 1 << 20
MAX_FIELD_BYTES = 1_000
#: The field whose text is taken as a file.
PASTED = "pasted"
#: More parts, longer heads of them, and more bytes around the file than this are no form of ours.
MAX_PARTS, MAX_HEAD_BYTES, MAX_AROUND_BYTES = 20, 8_192, 100_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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
        self.key = new_key()
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
        self._parts, self._head, self._around = 0, 0, 0
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
        self._field, self._in_file, self._head = "", False, 0
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise InvalidError("This form holds too many fields. Send the file again.", field="file")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_head(end - start)
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_head(end - start)
        self._value += data[start:end]

    def _count_head(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEAD_BYTES:
            raise InvalidError("The upload could not be read. Send the file again.", field="file")

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition(self._value)
        self._header, self._value = b"", b""

    def _disposition(self, value: bytes) -> None:
        options = parse_options_header(value)[1]
        self._field = options.get(b"name", b"").decode(errors="replace")
        filename = plain_name(options.get(b"filename", b"").decode(errors="replace"))
        pasted = self._field == PASTED
        self._in_file = (pasted or (self._field == self._wanted and bool(filename))) and not self.has_file
        if self._in_file:
            self.filename, self.has_file = "pasted text" if pasted else filename, True

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._left -= end - start
            if self._left < 0:
                raise TooLargeError("This file is larger than the server accepts.", field="file")
            self.pieces.append(data[start:end])
            self.pending += end - start
            return
        self.count_around(end - start)
        if self._field:
            value = self.fields.setdefault(self._field, bytearray())
            value += data[start : min(end, start + MAX_FIELD_BYTES - len(value))]

    def count_around(self, size: int) -> None:
        """Bytes that belong to no file: kept short, for nothing else bounds them."""
        self._around += size
        if self._around > MAX_AROUND_BYTES:
            raise TooLargeError("This form holds more than a file and its name. Send the file again.", field="file")

    def _end(self) -> None:
        self.complete = True


def _plain(value: str) -> str:
    """A name without control characters, which no database, log or header takes well."""
    return _CONTROL.sub(" ", value)


def plain_name(filename: str) -> str:
    """Likewise of a file, without the folders before it, and bounded."""
    return _plain(filename).replace("\\", "/").rsplit("/", 1)[-1][:200]


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
    # RFC 2046 allows 70 characters.
    if kind != b"multipart/form-data" or not 0 < len(options.get(b"boundary", b"")) <= 70:
        raise InvalidError("Choose a file to upload.", field="file")
    return options[b"boundary"]


async def _drain(request: Request, parser: MultipartParser, form: _Form, sink: _Sink) -> None:
    try:
        async for chunk in request.stream():
            if form.complete:
                form.count_around(len(chunk))  # the parser reads it and says nothing
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
        raise InvalidError("This file is empty. Choose a file with at least one row.", field="file")
    name = _plain(form.fields.get("name", bytearray()).decode(errors="replace")).strip()
    return Received(form.filename, name[:200], sink.key, sink.size, sha256)
