"""The stand-in for the Hub behaves towards huggingface_hub as the real one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.fakehub import READ_TOKEN, WRITE_TOKEN, FakeHub

_PULL = """
import sys
from huggingface_hub import snapshot_download
try:
    print(snapshot_download(sys.argv[1], token=sys.argv[2] or False, local_dir=sys.argv[3]))
except Exception as exc:
    print(type(exc).__name__)
"""


def pull(hub: FakeHub, repo: str, token: str, into: Path) -> str:
    """What `snapshot_download` gives in a fresh process: a folder, or the name of its error."""
    done = subprocess.run(
        [sys.executable, "-c", _PULL, repo, token, str(into)],
        env={"PATH": os.environ["PATH"], **hub.env()},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_download_is_whole_and_goes_on_where_it_broke_off(fake_hub: FakeHub, tmp_path: Path) -> None:
    weights = os.urandom(22 << 20)  # huggingface_hub keeps what it has in steps of 10 MiB
    fake_hub.add("alice/model", {"config.json": b"{}", "model.safetensors": weights})
    fake_hub.cut_after = 12 << 20
    assert pull(fake_hub, "alice/model", "", tmp_path) == str(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == weights
    ranges = [headers["range"] for _, path, _, headers in fake_hub.requests if "range" in headers]
    assert ranges == [f"bytes={10 << 20}-"]


def test_gated_private_and_missing_are_told_apart(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.add("alice/gated", {"config.json": b"{}"}, gated=True)
    fake_hub.add("alice/private", {"config.json": b"{}"}, private=True)
    assert pull(fake_hub, "alice/gated", READ_TOKEN, tmp_path / "1") == "GatedRepoError"
    assert pull(fake_hub, "alice/private", READ_TOKEN, tmp_path / "2") == "RepositoryNotFoundError"
    assert pull(fake_hub, "alice/missing", WRITE_TOKEN, tmp_path / "3") == "RepositoryNotFoundError"
    assert pull(fake_hub, "alice/private", WRITE_TOKEN, tmp_path) == str(tmp_path)
