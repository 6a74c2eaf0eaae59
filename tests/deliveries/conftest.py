"""Contexts that may call this machine, and receivers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.core.context import Context, make_context
from app.core.settings import NotifySettings
from tests.deliveries.receivers import HookServer, MailServer, hook_server, mail_server


@pytest.fixture
def open_ctx(any_ctx: Context) -> Iterator[Context]:
    """A context, on both databases, whose settings allow calls to loopback."""
    open_settings = any_ctx.settings.model_copy(update={"notify": NotifySettings(allowed_networks=["127.0.0.0/8"])})
    open_settings.web.public_url = "https://tunes.example.org/"
    context = make_context(open_settings, worker=True)
    yield context
    context.db.dispose()


@pytest.fixture
def hook() -> Iterator[HookServer]:
    """A receiver of webhooks."""
    with hook_server() as server:
        yield server


@pytest.fixture
def mail() -> Iterator[MailServer]:
    """A mail server without login and encryption."""
    with mail_server() as server:
        yield server
