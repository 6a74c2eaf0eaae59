"""What a child sees of the runner's environment: a short list, and nothing that somebody would want to steal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.core.context import Context
from app.domain.jobs.states import JobKind
from tests.worker.test_training_job import job_of, launch, trainer_of, when_at_step
from worker.export import tool
from worker.process import _PASSED, MODULES, ChildProcess
from worker.runner import Runner

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is read from /proc")
CANARY = "canary-7f3a"
#: Where secrets stand on machines like these, and names nobody has thought of.
NAMES = (
    "DATABASE_URL", "REDIS_URL", "TUNEDECK_DATABASE_URL", "TUNEDECK_REDIS_URL", "TUNEDECK_SECRET_KEY",
    "TUNEDECK_ADMIN_PASSWORD", "TUNEDECK_STORAGE_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY", "GITHUB_TOKEN", "GH_TOKEN", "PGPASSWORD", "CELERY_BROKER_URL", "SSH_AUTH_SOCK", "KUBECONFIG",
    "GOOGLE_APPLICATION_CREDENTIALS", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONINSPECT", "LD_AUDIT",
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "HF_HUB_ENABLE_HF_TRANSFER", "SOMETHING_NOBODY_THOUGHT_OF", "hf_token",
)  # fmt: skip
#: Set by the runner itself.
OWN = {
    "HF_ENDPOINT", "HF_HOME", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_XET", "DO_NOT_TRACK",
    "TOKENIZERS_PARALLELISM", "PYTHONUNBUFFERED", "PYTHONFAULTHANDLER", "TUNEDECK_LEASE_SECONDS", "TUNEDECK_BELL_FD",
    "TUNEDECK_SECLUDE", "TUNEDECK_LARGEST_FILE",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _canaries(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the settings were read."""
    for name in NAMES:
        monkeypatch.setenv(name, CANARY)


def environment(pid: int) -> dict[str, str]:
    """As the kernel keeps it, whatever the process did to its own copy since."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if pair)


def seen_by(pid: int) -> str:
    """All that others on this machine could read of a process."""
    return str(environment(pid)) + Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.parametrize("kind", list(MODULES))
def test_no_canary_reaches_a_child_of_any_kind(ctx: Context, tmp_path: Path, kind: JobKind) -> None:
    child = ChildProcess(kind, tmp_path, ctx.settings, {"hub_token": "hf_canary-7f3a"})
    try:
        assert CANARY not in seen_by(child.pid)
        allowed = {*_PASSED, *OWN}
        assert not [name for name in environment(child.pid) if name not in allowed and not name.startswith("UNSLOTH_")]
    finally:
        child.close()


@pytest.mark.slow
def test_nor_a_training_and_what_it_starts(ctx: Context, tiny_model: Path) -> None:
    job_id, seen = launch(ctx, tiny_model), list[str]()

    def look() -> None:
        trainer = trainer_of(job_id)
        seen.extend(seen_by(process.pid) for process in (trainer, *trainer.children(recursive=True)))

    watching = when_at_step(ctx, job_id, 1, look)
    Runner(ctx, "w", "gpu").run_waiting()
    watching.join(20)
    assert job_of(ctx, job_id).state == "succeeded"
    assert seen
    assert CANARY not in str(seen)


def test_nor_a_tool_of_an_export(tmp_path: Path) -> None:
    print_all = "import os; print(sorted(os.environ.items()))"
    env = tool.environment(tmp_path, 1)
    done = subprocess.run([sys.executable, "-c", print_all], env=env, capture_output=True, text=True, check=True)
    assert CANARY not in done.stdout
    assert "HF_ENDPOINT" not in done.stdout
