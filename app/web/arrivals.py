"""A file that has arrived whole becomes a data set, or is refused in words."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from sqlmodel import Session
from starlette.responses import JSONResponse

from app.core.context import Context
from app.core.storage import StorageError
from app.domain.datasets import service
from app.domain.datasets.models import DatasetState
from app.domain.datasets.refusals import FormatError
from app.domain.errors import InvalidError, NoSpaceError, TooLargeError
from app.domain.files.reading import look_at, stem
from app.domain.files.unpacking import unpacked
from app.domain.uploads import service as uploads
from app.web.doors import about, request_session
from app.web.incoming import Received
from app.web.render import put_flash
from app.web.render import translate as _

#: Bytes left free on the disk after an upload: room for the canonical rows comes on top.
SPARE_BYTES = 256_000_000


@dataclass(frozen=True)
class Arrived:
    """Where it is now, and a word if the same file was here already."""

    dataset_id: int
    said: str = ""

    @property
    def location(self) -> str:
        """Its page."""
        return f"/datasets/{self.dataset_id}"

    def as_json(self) -> JSONResponse:
        """For a script, which goes there; the word is shown there."""
        response = JSONResponse({"location": self.location}, 201, {"location": self.location})
        if self.said:
            put_flash(response, self.said, "")
        return response


def check_size(ctx: Context, size: int) -> None:
    """Refuse before the first byte. Raises `DomainError`."""
    most = ctx.settings.web.max_upload_bytes
    if size > most:
        raise TooLargeError(_("This file is larger than the server accepts (%(n)s bytes).", n=most), field="file")


def check_room(ctx: Context, needed: int) -> None:
    """Likewise, where the disk has no room. Raises `DomainError`."""
    if needed + SPARE_BYTES > ctx.storage.free_bytes():
        raise NoSpaceError(_("The server's disk has no room for this file. Delete what is not needed."), field="file")


def check_head(path: Path, filename: str) -> None:
    """What the first bytes tell. Raises `InvalidError`."""
    try:
        with unpacked(path) as stream:
            look_at(stream, filename)
    except FormatError as exc:
        raise InvalidError(str(exc), field="file") from exc


def keep(request: Request, ctx: Context, received: Received, upload_id: int = 0) -> Arrived:
    """A data set out of the received bytes, which lie where they were when it raises. Blocks.

    `upload_id`: the upload that is over then.
    """
    check_head(ctx.storage.path(received.key), received.filename)
    with request_session(request, write=False) as session:
        known = _known(session, received)
    return known or _place(request, ctx, received, upload_id)


def _known(session: Session, received: Received) -> Arrived | None:
    known = service.find_by_hash(session, received.sha256)
    if known is None or known.state == DatasetState.FAILED:
        return None
    return Arrived(known.id or 0, _("This very file is here already, as “%(name)s”.", name=known.name))


def _place(request: Request, ctx: Context, received: Received, upload_id: int) -> Arrived:
    """Give the bytes their name, and publish them while no transaction is open: that may take long."""
    part = ctx.storage.path(received.key)
    key = f"datasets/src-{received.sha256[:16]}-{part.stem[:8]}"
    part.rename(ctx.storage.make_parent(key))
    try:
        ctx.storage.publish(key)
        return _enter(request, ctx, received, key, upload_id)
    except BaseException:
        ctx.storage.path(key).rename(part)
        with suppress(StorageError):
            ctx.storage.withdraw(key)
        raise


def _enter(request: Request, ctx: Context, received: Received, key: str, upload_id: int) -> Arrived:
    with request_session(request, write=True) as session:
        twin = _known(session, received)
        if twin is None:
            dataset = service.create_from_upload(
                session,
                ctx.bells,
                name=received.name or stem(received.filename),
                filename=received.filename,
                size=received.size,
                sha256=received.sha256,
                source_key=key,
            )
            about(request, f"dataset {dataset.id} “{dataset.name}”", sha256=received.sha256)
            if upload_id:
                uploads.finish(session, upload_id, dataset.id or 0)
            return Arrived(dataset.id or 0)
    ctx.storage.delete(key)
    return twin
