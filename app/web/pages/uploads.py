"""Uploads in parts: a large file comes a piece at a time, and goes on where it was after a broken line or a reload.

    POST  /datasets/uploads                 filename, size, modified  ->  {"id": 3, "received": 0}, or where it is
    PATCH /datasets/uploads/3?offset=N      the bytes from N on       ->  {"received": M}
    POST  /datasets/uploads/3/finish                                  ->  {"location": "/datasets/7"}

Whoever got no answer, or 409, asks the first again: it tells how far the file has come.
"""

from __future__ import annotations

import errno
from contextlib import closing
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from app.core.context import Context
from app.domain.errors import ConflictError, DomainError, InvalidError, NoSpaceError, TooLargeError
from app.domain.uploads import service as uploads
from app.domain.uploads.models import Upload
from app.web.arrivals import Arrived, check_head, check_room, check_size, keep
from app.web.deps import ContextDep, FormDep, Id, SessionDep, get_context, text
from app.web.doors import about, request_session
from app.web.errors import wants_json
from app.web.incoming import BATCH, Received, plain_name
from app.web.parts import Digests, PartFile
from app.web.refusals import as_json
from app.web.render import see_other
from app.web.render import translate as _

router = APIRouter()
MAX_SIZE = 2**62
#: A file's head is looked at once so much of it has come, so that one that can't be used is told early.
HEAD_BYTES = 1_000_000
Offset = Annotated[int, Query(ge=0, le=MAX_SIZE)]
_MOVED = "The upload has gone on meanwhile. Ask how far it is."


@router.post("/datasets/uploads")
def begin(request: Request, session: SessionDep, ctx: ContextDep, form: FormDep) -> Response:
    """How far this file has come; or where it is, if it came whole a moment ago."""
    filename = plain_name(text(form, "filename"))
    size, modified = _number(text(form, "size")), _number(text(form, "modified", "0"))
    if not filename or size <= 0:
        raise InvalidError(_("This file is empty. Choose a file with at least one row."), field="file")
    check_size(ctx, size)
    upload = uploads.begin(session, filename, size, modified, most=ctx.settings.limits.uploads)
    about(request, f"upload {upload.id} “{filename}”")
    if upload.dataset_id is not None:
        return Arrived(upload.dataset_id, _("This very file is here already.")).as_json()
    # The file and its rows, less what lies there already: that stands in the sum, without what has come.
    check_room(ctx, size + uploads.awaited_bytes(session))
    return JSONResponse({"id": upload.id, "received": upload.received})


def _number(given: str) -> int:
    is_one = given.isascii() and given.isdigit() and len(given) < 19
    return min(int(given), MAX_SIZE) if is_one else 0


@router.patch("/datasets/uploads/{upload_id}")
async def part(request: Request, upload_id: Id, offset: Offset) -> Response:
    """The bytes from `offset` on, as many as come. What came before the line broke counts."""
    ctx = get_context(request)
    try:
        received = await _Part(request, ctx, upload_id, offset).take()
    except DomainError as exc:
        return as_json(exc.status, exc.message, exc.field)
    return JSONResponse({"received": received})


class _Part:
    """One part on its way in."""

    def __init__(self, request: Request, ctx: Context, upload_id: int, offset: int) -> None:
        self._request, self._ctx, self._id, self._offset = request, ctx, upload_id, offset

    async def take(self) -> int:
        """How far the file has come then. Raises `DomainError`."""
        upload, file = await anyio.to_thread.run_sync(self._open)
        try:
            whole = await self._drain(upload, file)
            received = await anyio.to_thread.run_sync(self._count, file)
            if self._offset == 0 and whole and HEAD_BYTES <= received < upload.size:
                await anyio.to_thread.run_sync(self._look, upload)
            return received
        finally:
            file.close()

    def _open(self) -> tuple[Upload, PartFile]:
        upload = self._read()
        self._check_announced(upload)
        file = PartFile(self._ctx.storage.path(upload.key), upload.key, digests_of(self._request))
        try:
            return self._ready(file), file
        except BaseException:
            file.close()
            raise

    def _read(self) -> Upload:
        with request_session(self._request, write=False) as session:
            upload = uploads.get_upload(session, self._id)
        if upload.received != self._offset or upload.dataset_id is not None:
            raise ConflictError(_(_MOVED), field="file")
        return upload

    def _check_announced(self, upload: Upload) -> None:
        length = self._request.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length) > upload.size - upload.received:
            raise _too_much()

    def _ready(self, file: PartFile) -> Upload:
        upload = self._read()  # whoever held the file before may have gone on with it
        if file.length < upload.received:
            with self._ctx.db.session(write=True) as session:  # another host has it, or its disk lost it
                uploads.advance(session, self._id, upload.received, file.length)
            raise ConflictError(_(_MOVED), field="file")
        file.go_to(self._offset)
        return upload

    async def _drain(self, upload: Upload, file: PartFile) -> bool:
        """Write what comes; whether that was all of the part."""
        pieces: list[bytes] = []
        waiting, left = 0, upload.size - upload.received
        try:
            async for chunk in self._request.stream():
                left -= len(chunk)
                if left < 0:
                    raise _too_much()
                pieces.append(chunk)
                waiting += len(chunk)
                if waiting >= BATCH:
                    await anyio.to_thread.run_sync(self._write, file, pieces)
                    pieces, waiting = [], 0
        except ClientDisconnect:
            await anyio.to_thread.run_sync(self._write, file, pieces)
            return False
        await anyio.to_thread.run_sync(self._write, file, pieces)
        return True

    @staticmethod
    def _write(file: PartFile, pieces: list[bytes]) -> None:
        try:
            file.write(pieces)
        except OSError as exc:
            if exc.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            said = _("The server's disk has no room for this file. Delete what is not needed.")
            raise NoSpaceError(said, field="file") from exc

    def _count(self, file: PartFile) -> int:
        with self._ctx.db.session(write=True) as session:
            counted = uploads.advance(session, self._id, self._offset, file.end)
        if not counted:
            raise ConflictError(_(_MOVED), field="file")
        file.keep()
        return file.end

    def _look(self, upload: Upload) -> None:
        try:
            check_head(self._ctx.storage.path(upload.key), upload.filename)
        except InvalidError:
            _remove(self._request, self._ctx, upload)
            raise


def _too_much() -> TooLargeError:
    return TooLargeError(_("This part is larger than what is left of the file. Choose the file again."), field="file")


def digests_of(request: Request) -> Digests:
    """Of this process."""
    found: Digests = request.app.state.digests
    return found


@router.post("/datasets/uploads/{upload_id}/finish")
def finish(request: Request, ctx: ContextDep, upload_id: Id) -> Response:
    """All has come: a data set, or why it is none."""
    with request_session(request, write=False) as session:
        upload = uploads.get_upload(session, upload_id)
    if upload.dataset_id is not None:
        return Arrived(upload.dataset_id).as_json()
    if upload.received != upload.size:
        raise ConflictError(_(_MOVED), field="file")
    with closing(PartFile(ctx.storage.path(upload.key), upload.key, digests_of(request))) as file:
        return _finished(request, ctx, upload_id, file).as_json()


def _finished(request: Request, ctx: Context, upload_id: int, file: PartFile) -> Arrived:
    with request_session(request, write=False) as session:
        upload = uploads.get_upload(session, upload_id)
    if upload.dataset_id is not None:
        return Arrived(upload.dataset_id)
    if file.length < upload.size:
        with ctx.db.session(write=True) as session:
            uploads.advance(session, upload_id, upload.size, file.length)
        raise ConflictError(_(_MOVED), field="file")
    file.go_to(upload.size)
    received = Received(upload.filename, "", upload.key, upload.size, file.sha256())
    try:
        arrived = keep(request, ctx, received, upload_id)
    except InvalidError:
        _remove(request, ctx, upload)
        raise
    if ctx.storage.path(upload.key).exists():  # the same bytes were here already
        _remove(request, ctx, upload)
    return arrived


def _remove(request: Request, ctx: Context, upload: Upload) -> None:
    with request_session(request, write=True) as session:
        uploads.remove(session, upload.id or 0)
    ctx.storage.discard(upload.key)


@router.post("/datasets/uploads/{upload_id}/delete")
def delete(request: Request, ctx: ContextDep, upload_id: Id) -> Response:
    """Forget what has come of it."""
    with request_session(request, write=False) as session:
        upload = uploads.get_upload(session, upload_id)
    _remove(request, ctx, upload)
    if wants_json(request):
        return Response(status_code=204)
    return see_other(request, "/datasets/new", _("The upload of “%(name)s” was removed.", name=upload.filename))
