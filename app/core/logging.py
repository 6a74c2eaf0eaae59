"""One line per record on stderr, the same for web and workers: for people, or as JSON; with the job it is about."""

from __future__ import annotations

import json
import logging
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from app.core.settings import LogSettings

_JOB: ContextVar[tuple[int, int] | None] = ContextVar("job", default=None)
#: Also what some terminals and readers of logs take for a line's end or a command.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_NOISY = ("httpx", "httpcore", "alembic.runtime.migration", "kombu", "celery.redirected")


@contextmanager
def about_job(job_id: int, attempt: int) -> Iterator[None]:
    """Every record of this thread inside names the job and the attempt. Elsewhere: `extra={"job": …}`."""
    token = _JOB.set((job_id, attempt))
    try:
        yield
    finally:
        _JOB.reset(token)


def _mark(record: logging.LogRecord) -> bool:
    """Put `job` and `attempt` on the record, where they are known."""
    job_id, attempt = _JOB.get() or (None, None)
    record.job = getattr(record, "job", job_id)
    record.attempt = getattr(record, "attempt", attempt)
    return True


class PlainFormatter(logging.Formatter):
    """A line for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s:%(about)s %(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The line, with [job 7] where it is about one."""
        job = getattr(record, "job", None)
        record.about = f" [job {job}]" if job else ""
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """A name with a line break forges no record, one with an escape code colours no terminal."""
        return plain(super().formatMessage(record).rstrip("\n"))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - likewise
        """Indented, so that no line of it looks like a record."""
        return "\n".join(f"    {plain(line)}" for line in super().formatException(ei).split("\n"))


def plain(text: str) -> str:
    """`text` with its control characters written out, the way `repr` does."""
    return _CONTROL.sub(lambda found: repr(found.group())[1:-1], text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, logger, message, process; job and attempt, error where there are such."""

    def format(self, record: logging.LogRecord) -> str:
        """The object; a line break in a message is escaped, so nobody can forge a record."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": os.getpid(),
            "job": getattr(record, "job", None),
            "attempt": getattr(record, "attempt", None),
            "error": "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else None,
        }
        return json.dumps({key: value for key, value in line.items() if value is not None}, ensure_ascii=False)


def setup_logging(settings: LogSettings, level: str = "") -> None:
    """Configure the root logger once; `level` in place of the setting's."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.format == "json" else PlainFormatter())
    handler.addFilter(_mark)
    logging.basicConfig(level=level or settings.level, handlers=[handler])
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
