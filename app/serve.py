"""The web process: `python -m app.serve`. Apart from the command line, so that it starts without its libraries."""

from __future__ import annotations

import sys

from app.core.net import is_loopback
from app.core.process import end_with_supervisor
from app.core.settings import get_settings
from app.core.storage import storage_refusal


def refusal(host: str) -> str:
    """Why `host` is not listened on."""
    return (
        f"Tunedeck has no accounts yet, so it listens on this machine only. {host} is refused: "
        "use 127.0.0.1, and an SSH tunnel to reach it from elsewhere."
    )


def main() -> None:
    """Serve until told to stop."""
    end_with_supervisor()
    settings = get_settings()
    if not is_loopback(settings.web.host):
        sys.exit(refusal(settings.web.host))
    if problem := storage_refusal(settings):
        sys.exit(problem)
    import uvicorn

    from app.core.logging import setup_logging
    from app.main import create_app
    from app.web.patience import patient

    setup_logging(settings.log)
    uvicorn.run(
        create_app(settings),
        host=settings.web.host,
        port=settings.web.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        http=patient(settings.web.patience_seconds),
        proxy_headers=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()
