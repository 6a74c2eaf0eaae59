from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.settings import Settings
from app.domain.models import catalogue
from app.domain.models.reach import Reach, reach_of


def online(settings: Settings, endpoint: str) -> Settings:
    return settings.model_copy(update={"hub": settings.hub.model_copy(update={"offline": False, "endpoint": endpoint})})


@pytest.fixture
def endpoint() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_the_catalogue_names_each_model_once_and_in_order() -> None:
    names = [model.hub_id for model in catalogue.CATALOGUE]
    assert len(names) == len(set(names))
    assert all(model.size_bytes > 0 and model.licence for model in catalogue.CATALOGUE)
    assert catalogue.find("Qwen/Qwen3-8B") is not None


def test_with_the_hub_away_only_what_is_here_is_offered(settings: Settings, endpoint: str) -> None:
    assert reach_of(endpoint).known(5) is True
    assert all(not offer.why_not for offer in catalogue.offered(online(settings, endpoint)))
    away = "http://127.0.0.1:9"
    assert reach_of(away).known(5) is False
    for offer in catalogue.offered(online(settings, away)):
        assert bool(offer.why_not) == (not offer.on_machine)
        assert offer.on_machine or "can't be reached" in offer.why_not
    assert any("switched off" in offer.why_not for offer in catalogue.offered(settings))
    assert all(offer.memory > 0 for offer in catalogue.offered(settings))


def test_nobody_waits_for_the_network() -> None:
    assert Reach("http://127.0.0.1:9").known(0) is not True
    assert Reach("http://:80").known(5) is False


@pytest.mark.parametrize("name", ["", "model", "a/b/c", "a/../b", "../x/y", "https://x/y", "a b/c"])
def test_what_is_no_model_is_refused(settings: Settings, name: str) -> None:
    assert catalogue.check_model(online(settings, "http://127.0.0.1:9"), name)


def test_a_folder_must_lie_below_an_allowed_root_and_hold_safetensors(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "roots" / "model"
    folder.mkdir(parents=True)
    assert "allowed root" in catalogue.check_model(settings, str(folder))
    settings.models.local_roots = [tmp_path / "roots"]
    assert "config.json" in catalogue.check_model(settings, str(folder))
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert "safetensors" in catalogue.check_model(settings, str(folder))
    (folder / "model.safetensors").write_bytes(b"x")
    assert catalogue.check_model(settings, str(folder)) == ""
    sneaky = tmp_path / "roots" / "link"
    sneaky.symlink_to(tmp_path)
    assert "allowed root" in catalogue.check_model(settings, str(sneaky))
