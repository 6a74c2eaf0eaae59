"""A push goes over real HTTP to a stand-in for the Hub, and what arrived is read back by the real libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.fakehub import BAD_TOKEN, READ_TOKEN, WRITE_TOKEN, FakeHub
from worker.child import LEASE_ENV
from worker.trainer.specs import PushFile, PushSpec, write_spec

ROOT = Path(__file__).resolve().parents[2]


def run_push(hub: FakeHub, job_dir: Path, spec: PushSpec, token: str, **env: str) -> list[dict[str, Any]]:
    """The events of a push as the runner would start it: the token comes over stdin."""
    job_dir.mkdir(exist_ok=True)
    write_spec(job_dir, spec)
    environment = {**os.environ, **hub.env(), LEASE_ENV: "60", **env}
    with subprocess.Popen(
        [sys.executable, "-m", "worker.export", str(job_dir)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps({"hub_token": token}) + "\n")
        child.stdin.flush()
        output = child.stdout.read()
    assert token not in output
    for path in job_dir.rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes(), path
    return [json.loads(line) for line in (job_dir / "events.jsonl").read_text().splitlines()]


def error_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The error line, which must be the last."""
    assert events[-1]["kind"] == "error", events[-1]
    return events[-1]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """Files as PEFT leaves them, the path of this machine included."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": "/srv/models/secret-place", "r": 16}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(os.urandom(200_000))
    (folder / "README.md").write_text("PEFT's own card")
    return folder


def spec_of(path: Path, repo_id: str = "alice/fortune-teller") -> PushSpec:
    card: dict[str, str | int | float | list[str]] = {
        "name": "Fortune teller",
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "dataset": "fortunes | 2026",
        "licence": "Apache-2.0",
        "questions": ["What does Monday bring?"],
        "learning_rate": 0.0002,
        "score_eval_loss": "2.7513 → 1.2040",
    }
    return PushSpec(repo_id=repo_id, files=(PushFile(artifact="adapter", path=path),), card=card)


def test_adapter_arrives_with_a_card_and_without_our_paths(fake_hub: FakeHub, adapter: Path, tmp_path: Path) -> None:
    events = run_push(fake_hub, tmp_path / "job", spec_of(adapter), WRITE_TOKEN)
    assert events[-1]["kind"] == "done"
    result = next(event for event in events if event["kind"] == "result")["payload"]
    assert result["repo_id"] == "alice/fortune-teller"
    assert result["url"] == f"{fake_hub.endpoint}/alice/fortune-teller"
    assert result["private"] is True
    files = fake_hub.files("alice/fortune-teller")
    assert files["adapter_model.safetensors"] == (adapter / "adapter_model.safetensors").read_bytes()
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    card = files["README.md"].decode()
    assert "base_model: HuggingFaceTB/SmolLM2-135M-Instruct" in card
    assert "fortunes" in card
    assert "| eval loss | 2.7513 → 1.2040 |" in card
    assert "license: apache-2.0" in card
    assert "- What does Monday bring?" in card
    told = [event for event in events if event.get("phase") == "uploading" and event.get("unit") == "bytes"]
    assert told[-1]["done"] == told[-1]["total"] > 200_000


def test_a_second_push_of_the_same_uploads_nothing_again(fake_hub: FakeHub, adapter: Path, tmp_path: Path) -> None:
    run_push(fake_hub, tmp_path / "one", spec_of(adapter), WRITE_TOKEN)
    fake_hub.requests.clear()
    events = run_push(fake_hub, tmp_path / "two", spec_of(adapter), WRITE_TOKEN)
    assert events[-1]["kind"] == "done"
    assert not [path for method, path, _, _ in fake_hub.requests if method == "PUT"]


@pytest.mark.parametrize(
    ("token", "repo_id", "words"),
    [
        (BAD_TOKEN, "alice/model", "does not accept this token"),
        (READ_TOKEN, "bob/model", "may only read"),
        (WRITE_TOKEN, "carol/model", "can't create repositories under “carol”"),
        (WRITE_TOKEN, "alice/no spaces", "can't be the name of a repository"),
    ],
)
def test_refusals_are_told_in_words(
    fake_hub: FakeHub, adapter: Path, tmp_path: Path, token: str, repo_id: str, words: str
) -> None:
    error = error_of(run_push(fake_hub, tmp_path / "job", spec_of(adapter, repo_id), token))
    assert error["error_class"] == "hub_refused"
    assert words in error["message"]
    assert error["advice"]


def test_a_full_account_is_told_in_words(fake_hub: FakeHub, adapter: Path, tmp_path: Path) -> None:
    fake_hub.quota = 1000
    error = error_of(run_push(fake_hub, tmp_path / "job", spec_of(adapter), WRITE_TOKEN))
    assert error["error_class"] == "hub_refused"
    assert "no room left" in error["message"]


def test_a_hub_that_is_away_is_told_in_words(fake_hub: FakeHub, adapter: Path, tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    error = error_of(run_push(fake_hub, tmp_path / "job", spec_of(adapter), WRITE_TOKEN, HF_ENDPOINT=nowhere))
    assert error["error_class"] == "hub_unreachable"
    assert nowhere in error["message"]


@pytest.mark.slow
def test_a_pushed_model_loads_from_the_hub(fake_hub: FakeHub, tiny_model: Path, tmp_path: Path, adapter: Path) -> None:
    files = (PushFile(artifact="merged", path=tiny_model), PushFile(artifact="adapter", path=adapter))
    events = run_push(fake_hub, tmp_path / "job", PushSpec(repo_id="model-of-mine", files=files), WRITE_TOKEN)
    assert events[-1]["kind"] == "done", events[-1]
    assert "adapter/adapter_config.json" in fake_hub.files("alice/model-of-mine")
    program = "import sys, huggingface_hub as h; h.snapshot_download('alice/model-of-mine', local_dir=sys.argv[1])"
    env = {"PATH": os.environ["PATH"], **fake_hub.env(), "HF_TOKEN": WRITE_TOKEN}
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "back")], env=env, check=True)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "back")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "back")
    assert model.config.vocab_size >= len(tokenizer)
