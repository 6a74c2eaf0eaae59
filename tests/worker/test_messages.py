"""The real light worker sends what a web process wrote, and says that it is ready."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from app.core.context import Context, make_context
from app.core.settings import Settings
from app.domain.deliveries import outbox, service, setup
from app.domain.deliveries.models import Channel, DeliveryState
from app.domain.workers import service as workers
from app.ready import worker_problem
from tests import services
from tests.deliveries.receivers import hook_server
from tests.worker.test_celery_process import start_worker, wait_for


@pytest.mark.slow
def test_a_light_worker_sends_messages(
    settings: Settings, ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = services.needed(services.redis_url(), "Redis")
    here = make_context(settings.model_copy(update={"redis_url": url}))
    monkeypatch.setenv("TUNEDECK_NOTIFY__ALLOWED_NETWORKS", '["127.0.0.1/32"]')
    monkeypatch.setenv("TUNEDECK_LOG__FORMAT", "json")
    assert "has not said hello" in worker_problem(here.settings, "light")
    process = start_worker(here.settings, "light", tmp_path / "worker.log")
    try:
        wait_for(lambda: worker_problem(here.settings, "light") == "", 120)
        with hook_server() as hook:
            with here.db.session(write=True) as session:
                setup.save(session, Channel.WEBHOOK, {"url": hook.url})
                setup.set_signing_secret(session, here.settings)
                outbox.test_message(session, Channel.WEBHOOK)
            wait_for(lambda: _state(here) == DeliveryState.DELIVERED, 120)
            assert json.loads(hook.got[0][2])["type"] == "test"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, (tmp_path / "worker.log").read_text()
        with here.db.session() as session:
            assert workers.list_workers(session) == []
    finally:
        process.kill()
        process.wait()
        here.db.dispose()


def _state(ctx: Context) -> str:
    with ctx.db.session() as session:
        return service.newest(session)[0].state


def test_ready_says_why_not(settings: Settings) -> None:
    gone = settings.model_copy(update={"database_url": "postgresql://u:secret@127.0.0.1:1/x"})
    said = worker_problem(gone, "gpu")
    assert "does not answer" in said
    assert "secret" not in said
