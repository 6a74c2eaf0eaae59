"""The web process: `python -m app.serve`. Apart from the command line, so that it starts without its libraries."""

from __future__ import annotations

import os
import sys
from urllib.parse import urlsplit

from app.core.net import is_loopback
from app.core.process import SUPERVISED_ENV, end_with_supervisor, loading
from app.core.settings import Settings, get_settings
from app.core.storage import storage_refusal


def refusal(settings: Settings) -> str:
    """Why it does not start like this; empty when it does."""
    web = settings.web
    if web.accounts:
        return ""
    if not is_loopback(web.host):
        return (
            "Without accounts whoever reaches the page may do everything, so Tunedeck listens on this machine only. "
            f"{web.host} is refused: set TUNEDECK_WEB__ACCOUNTS=true, or use 127.0.0.1 and an SSH tunnel to reach it "
            "from elsewhere."
        )
    names = [*web.allowed_hosts, urlsplit(web.public_url).hostname or ""]
    if not web.open_to_all and (web.trusted_proxies or [name for name in names if name and not is_loopback(name)]):
        return (
            "Accounts are off, but a proxy or a name is set, so others reach the page and may do everything. "
            "Set TUNEDECK_WEB__ACCOUNTS=true, or TUNEDECK_WEB__OPEN_TO_ALL=true if that is what you want."
        )
    return ""


def main() -> None:
    """Serve until told to stop."""
    end_with_supervisor()
    settings = get_settings()
    if said := refusal(settings):
        sys.exit(said)
    if problem := storage_refusal(settings):
        sys.exit(problem)
    with loading():
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


_LATER = "The database does not answer yet. `tunedeck people link` prints how to make the first administrator."


def _greet(settings: Settings) -> None:
    """Say how the first administrator is made; end where accounts are off by mistake."""
    from sqlalchemy.exc import SQLAlchemyError

    from app.welcome import accounts_refusal, address_of, first_administrator

    try:
        if problem := accounts_refusal(settings):
            sys.exit(problem)
        said = first_administrator(settings, address_of(settings))
    except SQLAlchemyError:
        said = _LATER if settings.web.accounts else ""
    if said:
        print(said, flush=True)  # noqa: T201 - for whoever started it


if __name__ == "__main__":
    main()
