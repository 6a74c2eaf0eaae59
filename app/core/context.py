"""What both processes carry around: settings, database, storage and bells."""

from __future__ import annotations

from dataclasses import dataclass

from app.core.db import Database
from app.core.live import Bell, Bells
from app.core.queue import CeleryDoorbell
from app.core.settings import Settings, get_settings
from app.core.storage import LocalStorage, open_storage


@dataclass(frozen=True)
class Context:
    """The plumbing of one process."""

    settings: Settings
    db: Database
    storage: LocalStorage
    bells: Bells


def make_context(settings: Settings | None = None, *, worker: bool = False) -> Context:
    """Wire up the plumbing; makes the data folder, touches no database, broker or S3 yet. Raises `StorageError`."""
    settings = settings or get_settings()
    settings.root.mkdir(mode=0o700, parents=True, exist_ok=True)  # other users of the machine have no business there
    settings.files_dir.mkdir(parents=True, exist_ok=True)
    bells = Bells(CeleryDoorbell(settings.broker, settings.redis), Bell(settings.redis))
    return Context(settings, Database(settings.database, worker=worker), open_storage(settings), bells)
