"""What other users of the same machine can read."""

from __future__ import annotations

import stat
from pathlib import Path

import httpx

from app.core.context import make_context
from app.core.settings import Settings
from tests.hostile.site import Site


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_data_folder_is_its_owners(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path / "a" / "data"})
    make_context(settings)
    assert mode(settings.root) == 0o700


def test_the_broker_and_the_key_are_their_owners(site: Site, web: httpx.Client) -> None:
    assert web.post("/settings/hub-token", data={"hub_token": "hf_abcdefghijklmnop"}).status_code == 303
    assert mode(site.ctx.settings.broker_socket.parent) == 0o700
    assert mode(site.ctx.settings.root / "secret.key") == 0o600
