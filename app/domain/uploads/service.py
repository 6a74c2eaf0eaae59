"""Uploads that come in parts and go on after a broken line: each is one row, and one file on the web process's disk."""

from __future__ import annotations

import hashlib
import secrets
import time
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlmodel import Session, col, select

from app.core.context import Context
from app.core.db import now_of, utcnow
from app.domain.datasets.models import Dataset
from app.domain.errors import ConflictError, NotFoundError
from app.domain.uploads.models import Upload
from app.domain.upsert import insert_missing
from app.domain.users.scoping import actor_of

FOLDER = "uploads"
#: So long the row of a file that became a data set answers whoever missed the answer.
DONE = timedelta(hours=1)
#: A file of no row may be one whose row comes in a moment, or that of a form without script.
_YOUNG_SECONDS = 3600


def new_key() -> str:
    """A name for bytes that are on their way."""
    return f"{FOLDER}/{secrets.token_hex(12)}.part"


def begin(session: Session, filename: str, size: int, modified: int, *, most: int) -> Upload:
    """The upload of this very file by this person: a new one, or the one that broke off. Raises `ConflictError`."""
    mark = _mark(session, filename, size, modified)
    found = session.exec(select(Upload).where(Upload.mark == mark)).first()
    if found is not None and not _is_over(session, found):
        return found
    if found is not None:
        session.delete(found)
        session.flush()
    if most and len(unfinished(session)) >= most:
        raise ConflictError(f"You have {most} unfinished uploads. Remove one of them, or finish it.", field="file")
    made = {"mark": mark, "owner_id": _owner(session), "filename": filename, "size": size, "key": new_key()}
    now = utcnow()
    insert_missing(session, Upload, [made | {"received": 0, "created_at": now, "updated_at": now}])
    return session.exec(select(Upload).where(Upload.mark == mark)).one()  # of two at once, both get the same


def _mark(session: Session, filename: str, size: int, modified: int) -> str:
    return hashlib.sha256(f"{_owner(session)}\n{size}\n{modified}\n{filename}".encode()).hexdigest()


def _owner(session: Session) -> int | None:
    actor = actor_of(session)
    return actor.user_id if actor else None


def _is_over(session: Session, upload: Upload) -> bool:
    """It became a data set long ago, or one that was deleted."""
    if upload.dataset_id is None:
        return False
    dataset = session.get(Dataset, upload.dataset_id)
    is_there = dataset is not None and dataset.deleted_at is None
    return not is_there or now_of(session) - upload.updated_at > DONE


def get_upload(session: Session, upload_id: int) -> Upload:
    """One's own upload: nobody else's is there, whoever asks. Raises `NotFoundError`."""
    found = session.get(Upload, upload_id)
    if found is None or found.owner_id != _owner(session):
        raise NotFoundError("There is no such upload. It may have been removed. Choose the file again.")
    return found


def unfinished(session: Session) -> list[Upload]:
    """One's own uploads that are not whole, newest first."""
    mine = (col(Upload.owner_id) == _owner(session), col(Upload.dataset_id).is_(None))
    return list(session.exec(select(Upload).where(*mine).order_by(col(Upload.id).desc())))


def awaited_bytes(session: Session) -> int:
    """What everybody's unfinished uploads will still bring."""
    left = sa.func.sum(col(Upload.size) - col(Upload.received))
    return int(session.execute(sa.select(left).where(col(Upload.dataset_id).is_(None))).scalar() or 0)


def advance(session: Session, upload_id: int, start: int, end: int) -> bool:
    """Count what came from `start` to `end`; False when it was counted otherwise meanwhile, or the upload is gone."""
    here = (col(Upload.id) == upload_id, col(Upload.received) == start, col(Upload.dataset_id).is_(None))
    done = session.execute(sa.update(Upload).where(*here).values(received=end, updated_at=now_of(session)))
    return bool(done.rowcount)  # type: ignore[attr-defined]  # a CursorResult


def finish(session: Session, upload_id: int, dataset_id: int) -> None:
    """It became this data set."""
    done = {"dataset_id": dataset_id, "updated_at": now_of(session)}
    session.execute(sa.update(Upload).where(col(Upload.id) == upload_id).values(**done))


def remove(session: Session, upload_id: int) -> None:
    """Forget it; its bytes are the caller's to remove, once this is committed."""
    session.execute(sa.delete(Upload).where(col(Upload.id) == upload_id))


def sweep(ctx: Context) -> None:
    """Forget uploads that nobody went on with, and remove what lies on this host's disk of any that are gone."""
    with ctx.db.session() as session:
        old = _left_alone(session, ctx.settings.web.upload_hours)
    if old:
        with ctx.db.session(write=True) as session:
            for upload_id, stamp in old:
                same = (col(Upload.id) == upload_id, col(Upload.updated_at) == stamp)
                session.execute(sa.delete(Upload).where(*same))
    files = _old_files(ctx)
    if files:
        with ctx.db.session() as session:
            known = set(session.exec(select(Upload.key)))
        for file in files:
            if (key := ctx.storage.key(file)) not in known:
                ctx.storage.discard(key)


def _left_alone(session: Session, hours: int) -> list[tuple[int, datetime]]:
    now = now_of(session)
    open_long = sa.and_(col(Upload.dataset_id).is_(None), col(Upload.updated_at) < now - timedelta(hours=hours))
    done_long = sa.and_(col(Upload.dataset_id).is_not(None), col(Upload.updated_at) < now - DONE)
    query = sa.select(col(Upload.id), col(Upload.updated_at)).where(sa.or_(open_long, done_long)).limit(100)
    return [(upload_id, stamp) for upload_id, stamp in session.execute(query)]


def _old_files(ctx: Context) -> list[Path]:
    """Nothing was written to them for a while: files of plain forms whose process was killed are among them."""
    folder = ctx.storage.path(FOLDER)
    old = time.time() - _YOUNG_SECONDS
    return [file for file in folder.iterdir() if file.stat().st_mtime < old] if folder.is_dir() else []
