"""The web process: `python -m app.serve`. Apart from the command line, so that it starts without its libraries."""

from __future__ import annotations

import os
import sys

from app.core.net import is_loopback
from app.core.process import SUPERVISED_ENV, end_with_supervisor
from app.core.settings import Settings, get_settings
from app.core.storage import storage_refusal


def refusal(settings: Settings) -> str:
    """Why this address is not listened on; empty when it is."""
    host = settings.web.host
    if is_loopback(host) or settings.web.accounts:
        return ""
    return (
        "Without accounts whoever reaches the page may do everything, so Tunedeck listens on this machine only. "
        f"{host} is refused: "
        "set TUNEDECK_WEB__ACCOUNTS=true, or use 127.0.0.1 and an SSH tunnel to reach it from elsewhere."
    )


def main() -> None:
    """Serve until told to stop."""
    end_with_supervisor()
    settings = get_settings()
    if said := refusal(settings):
        sys.exit(said)
    if problem := storage_refusal(settings):
        sys.exit(problem)
    import uvicorn

    from app.core.logging import setup_logging
    from app.main import create_app
    from app.web.patience import patient

    setup_logging(settings.log)
    if SUPERVISED_ENV not in os.environ:  # the supervisor says it itself
        _greet(settings)
    uvicorn.run(
        create_app(settings),
        host=settings.web.host,
        port=settings.web.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        http=patient(settings.web.patience_seconds),
        proxy_headers=bool(settings.web.trusted_proxies),
        forwarded_allow_ips=settings.web.trusted_proxies,
        server_header=False,
    )


def _greet(settings: Settings) -> None:
    """Say how the first administrator is made, once the database can be asked."""
    if not settings.web.accounts:
        return
    from sqlalchemy.exc import SQLAlchemyError

    from app.welcome import address_of, first_administrator

    try:
        said = first_administrator(settings, address_of(settings))
    except SQLAlchemyError:
        said = "The database does not answer yet. `tunedeck people link` prints how to make the first administrator."
    if said:
        print(said, flush=True)  # noqa: T201 - for whoever started it


if __name__ == "__main__":
    main()
