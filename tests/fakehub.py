"""A stand-in for the Hugging Face Hub over real HTTP on loopback, for downloads and pushes by the real huggingface_hub.

    from tests.fakehub import fake_hub   # noqa: F401 - in a room's conftest.py

    def test_something(fake_hub: FakeHub) -> None:
        fake_hub.endpoint                      # "http://127.0.0.1:41234": goes into HF_ENDPOINT
        fake_hub.env()                         # environment of a child that must use it (endpoint, no Xet, own cache)
        WRITE_TOKEN, READ_TOKEN, BAD_TOKEN     # alice may write to alice/*, bob may only read
        fake_hub.add("alice/model", folder)    # a Path or {"config.json": b"{}"}; private=, gated=
        fake_hub.files("alice/model")          # {"config.json": b"{}"} at the tip of main
        fake_hub.cut_after = 12 << 20          # once: a file breaks off there (10 MiB steps are kept)
        fake_hub.block_seconds = 0.05          # pause between blocks of 64 KiB of a file (progress, cancel)
        fake_hub.quota = 10_000                # uploads beyond are refused as the Hub refuses them
        fake_hub.requests                      # [("GET", "/api/models/alice/model", 200, {headers}), …]

It knows: whoami, create and delete, preupload, Git LFS uploads, commits, revisions, trees, resolve with Range. Errors
carry the Hub's own X-Error-Code (RepoNotFound, GatedRepo, EntryNotFound, RevisionNotFound). Set HF_HUB_DISABLE_XET=1.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from tests.fakehub_routes import BAD_TOKEN, READ_TOKEN, WRITE_TOKEN, create_app
from tests.fakehub_store import Store

__all__ = ["BAD_TOKEN", "READ_TOKEN", "WRITE_TOKEN", "FakeHub", "fake_hub"]


class FakeHub(Store):
    """The store, the switches of the tests, and the running server."""

    def __init__(self, cache: Path) -> None:
        super().__init__()
        self._cache = cache
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(create_app(self), log_level="critical", ws="none", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def start(self) -> None:
        """Serve; returns when the port answers."""
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.01)

    def stop(self) -> None:
        """End the server and its thread."""
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(timeout=10)
        self._socket.close()

    def env(self) -> dict[str, str]:
        """What a child needs in its environment to use this Hub and no other."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(self._cache),
        }


@pytest.fixture
def fake_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeHub]:
    """A Hub of its own for each test."""
    hub = FakeHub(tmp_path_factory.mktemp("hf-home"))
    hub.start()
    yield hub
    hub.stop()
