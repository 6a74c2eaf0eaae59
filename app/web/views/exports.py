"""Exports as pages show them: each choice with its file, its progress, its proof and how to run it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from app.core.storage import LocalStorage, StorageError
from app.domain.exports.service import EXPORT_CHOICES, ExportChoice, file_stem
from app.domain.jobs.models import Artifact, Job
from app.domain.jobs.states import FINAL, JobKind, JobState
from app.web import filters
from app.web.render import translate as _
from app.web.views.jobs import JobView, job_view


@dataclass(frozen=True)
class ExportView:
    """One thing that can be taken away, made or not."""

    choice: ExportChoice
    artifact: Artifact | None
    job: JobView | None
    modelfiles: tuple[dict[str, str], ...] = ()

    @property
    def badge(self) -> str:
        if self.artifact is None:
            return "building" if self.is_making else ""
        verdict = str(self.artifact.proof.get("verdict", ""))
        return {"same": "proved", "close": "proved", "differs": "unproved"}.get(verdict, "ready")

    @property
    def is_making(self) -> bool:
        return self.job is not None and not self.job.is_final

    @property
    def error(self) -> str:
        failed = self.artifact is None and self.job is not None and self.job.failed
        return str(self.job.row.error.get("message", "")) if failed and self.job else ""

    @property
    def size(self) -> str:
        return filters.filesize(self.artifact.size) if self.artifact else ""

    @property
    def name(self) -> str:
        is_file = self.artifact is not None and self.choice.artifact == "gguf"
        return PurePosixPath(self.artifact.storage_key).name if self.artifact and is_file else self.choice.title

    @property
    def sentence(self) -> str:
        """What the proof found, or what this is."""
        said = self.artifact.proof.get("sentence") if self.artifact else ""
        return str(said or self.choice.help)

    @property
    def facts(self) -> list[dict[str, Any]]:
        """Items of the `keyvalues` macro: checksum and proof."""
        if self.artifact is None:
            return []
        out = [{"label": "sha256", "value": self.artifact.sha256}] if self.artifact.sha256 else []
        return out + [
            {"label": _label(key), "value": _said(value)}
            for key, value in self.artifact.proof.items()
            if _shown(key, value)
        ]


#: What a proof holds, in words; anything else is shown by its own name.
PROOF_WORDS = {
    "llama_cpp": "Checked with",
    "template_equal": "Same chat template",
    "tokens_equal": "Same tokens",
    "first_token_logprob_diff": "First token differs by (nats)",
    "mean_kl": "Mean divergence (nats)",
    "same_choice": "Share of same choices",
    "tokens_compared": "Tokens compared",
    "seconds": "Seconds taken",
}
VERDICTS = {"same": "answers the same", "close": "answers nearly the same", "differs": "answers differ"}


def _label(key: str) -> str:
    return _(PROOF_WORDS.get(key, key.replace("_", " ").capitalize()))


def _shown(key: str, value: Any) -> bool:
    return key != "sentence" and isinstance(value, str | int | float | bool)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if value in VERDICTS:
        return _(VERDICTS[value])
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def export_views(storage: LocalStorage, artifacts: list[Artifact], makers: list[Job]) -> list[ExportView]:
    """Every choice, in the order offered."""
    made = {(a.kind, a.quant): a for a in artifacts}
    newest: dict[tuple[str, str], Job] = {}
    for job in reversed([job for job in makers if job.kind == JobKind.EXPORT]):
        newest[(str(job.config.get("artifact", "")), str(job.config.get("quant", "")))] = job
    return [_view(storage, choice, made, newest) for choice in EXPORT_CHOICES]


def _view(
    storage: LocalStorage,
    choice: ExportChoice,
    made: dict[tuple[str, str], Artifact],
    makers: dict[tuple[str, str], Job],
) -> ExportView:
    key = (choice.artifact, choice.quant)
    job = makers.get(key)
    files = _modelfiles(storage, made, choice.quant) if choice.artifact == "gguf" else ()
    return ExportView(choice, made.get(key), job_view(job) if job else None, files)


def _modelfiles(storage: LocalStorage, made: dict[tuple[str, str], Artifact], quant: str) -> tuple[dict[str, str], ...]:
    """Texts of the Modelfiles that lie beside a GGUF."""
    artifact = made.get(("modelfile", quant)) or made.get(("modelfile", ""))
    if artifact is None:
        return ()
    try:
        path = storage.ensure(artifact.storage_key)
    except StorageError:
        return ()  # the page has more to say than this
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    texts = [
        file for file in files if file.is_file() and file.name.startswith("Modelfile") and file.stat().st_size < 100_000
    ]
    href = f"/artifacts/{artifact.id}/download"
    return tuple({"name": file.name, "text": file.read_text(encoding="utf-8"), "href": href} for file in texts)


def commands(name: str, view: ExportView) -> list[dict[str, str]]:
    """How to run a GGUF: title and command."""
    stem = file_stem(name)
    run = f"ollama create {stem} -f Modelfile\nollama run {stem}"
    return [
        {"title": _("With Ollama, beside the Modelfile"), "text": run},
        {"title": _("With llama.cpp"), "text": f"llama-cli -m {view.name} -cnv"},
    ]


def push_views(jobs: list[Job]) -> list[JobView]:
    """Pushes to the Hub, newest first."""
    return [job_view(job) for job in jobs if job.kind == JobKind.PUSH]


def is_busy(jobs: list[Job]) -> bool:
    """Whether one of them is still at work."""
    return any(JobState(job.state) not in FINAL for job in jobs)
