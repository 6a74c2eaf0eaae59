"""One line per record on stderr, the same for web and workers."""

from __future__ import annotations

import logging


def setup_logging(level: str = "INFO") -> None:
    """Configure the root logger once."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", datefmt="%H:%M:%S")
    for noisy in ("httpx", "httpcore", "alembic.runtime.migration", "kombu", "celery.redirected"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
