"""The job folder: what a claimed job's child finds when it starts. One folder an attempt."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from sqlmodel import Session

from app.core.context import Context
from app.domain.datasets import service as datasets
from app.domain.datasets.models import Dataset
from app.domain.datasets.split import Split
from app.domain.errors import ConflictError, NotFoundError
from app.domain.evaluations.service import SIDES, answer_pairs, scores
from app.domain.exports.service import file_stem, list_artifacts
from app.domain.jobs import checkpoints
from app.domain.jobs import service as jobs
from app.domain.jobs.config import TrainConfig
from app.domain.jobs.launch import split_of
from app.domain.jobs.models import Artifact, Job
from app.domain.jobs.states import JobKind
from app.domain.models.allowances import code_at
from app.domain.models.catalogue import find, roots_of
from app.domain.secrets.service import HUB_TOKEN, get_secret
from worker.splitting import write_few, write_split
from worker.trainer import specs
from worker.trainer.specs import FETCHING

#: What a person chose for an intake; without it everything is found by looking.
_CHOSEN = ("format", "mapping", "replace")


def job_dir_key(job: Job) -> str:
    """Storage key of this attempt's folder."""
    return f"runs/{job.id}/a{job.attempt}"


def merged_key(training: Job) -> str:
    """Storage key of a training's merged model; all its exports use the same."""
    return f"runs/{training.id}/merged"


class Workspace:
    """Makes the folder of one attempt."""

    def __init__(self, ctx: Context, session: Session, job: Job) -> None:
        self._ctx = ctx
        self._session = session
        self._job = job
        self.path = ctx.storage.path(job_dir_key(job))
        #: Where the child writes: this folder, and for an export the merged model.
        self.written = [self.path]
        self.secrets: dict[str, str] = {}
        self._rows_key = ""
        self._held_key = ""
        self._split = Split()

    def needs(self) -> list[str]:
        """Storage keys of what must lie on this host before `prepare`. Raises `DomainError`."""
        job = self._job
        match JobKind(job.kind):
            case JobKind.TRAIN | JobKind.AUDIT:
                rows = datasets.get_dataset(self._session, job.subject_id).rows_key
                last = jobs.newest_checkpoint(self._session, job.id or 0)
                others = (last.storage_key if last else "", self._start_key(), self._held_out_key(self._split_of()))
                return [key for key in (rows, *others) if key]
            case JobKind.INTAKE:
                parent = job.config.get("version_of", 0)
                read = datasets.get_dataset(self._session, parent or job.subject_id)
                return [read.rows_key if parent else read.source_key]
            case JobKind.EXPORT:
                training, _ = self._training()
                return [self._artifact(training, "adapter", "").storage_key, merged_key(training)]
            case JobKind.PUSH:
                training, _ = self._training()
                return [self._artifact(training, kind, quant).storage_key for kind, quant in job.config["what"]]
            case _:
                return []

    def prepare(self) -> Path:
        """Write `job.json`. Raises `DomainError` when what the job needs is gone."""
        shutil.rmtree(self.path, ignore_errors=True)  # of another database's job of this number
        self.path.mkdir(parents=True)
        makers = {
            JobKind.TRAIN: self._train,
            JobKind.INTAKE: self._intake,
            JobKind.AUDIT: self._audit,
            JobKind.EXPORT: self._export,
            JobKind.PUSH: self._push,
        }
        specs.write_spec(self.path, makers[JobKind(self._job.kind)]())
        return self.path

    def _model(self, base_model: str, revision: str) -> specs.ModelSpec:
        settings = self._ctx.settings
        self._give_token()
        return specs.ModelSpec(
            base_model=base_model,
            revision=revision,
            model_cache=settings.model_cache,
            offline=settings.hub.offline,
            local_roots=roots_of(settings),
            code_at=code_at(self._session, base_model, revision),
        )

    def _give_token(self) -> None:
        token = get_secret(self._session, self._ctx.settings, HUB_TOKEN)
        if token:
            self.secrets[HUB_TOKEN] = token

    def _train(self) -> specs.TrainSpec:
        job = self._job
        config = TrainConfig.model_validate(job.config)
        dataset = datasets.get_dataset(self._session, job.subject_id)
        self._take_rows(dataset)
        last = jobs.newest_checkpoint(self._session, job.id or 0)
        pairs = answer_pairs(self._session, job)
        start = self._start_key()
        answered = [("before", p.number) for p in pairs if p.before] + [("after", p.number) for p in pairs if p.after]
        return specs.TrainSpec(
            job_id=job.id or 0,
            attempt=job.attempt,
            config=config,
            model=self._model(config.base_model, config.revision),
            resume_from=self._ctx.storage.path(last.storage_key) if last else None,
            best_loss=checkpoints.best_loss(self._session, job.id or 0),
            start_from=self._ctx.storage.path(start) if start else None,
            answered=tuple(answered),
            threads=self._ctx.settings.worker.threads,
        )

    def _start_key(self) -> str:
        """Storage key of the adapter that this training goes on from; empty when it starts a fresh one."""
        number = self._job.config.get("adapter_of", 0)
        return self._artifact(jobs.get_job(self._session, number), "adapter", "").storage_key if number else ""

    def _split_of(self) -> Split:
        config = self._job.config
        return Split.model_validate(config["split"]) if "split" in config else split_of(TrainConfig(**config))

    def _held_out_key(self, split: Split) -> str:
        return datasets.get_dataset(self._session, split.dataset_id).rows_key if split.dataset_id else ""

    def _take_rows(self, dataset: Dataset) -> None:
        self._split = self._split_of()
        self._rows_key, self._held_key = dataset.rows_key, self._held_out_key(self._split)

    def write_rows(self, stop: threading.Event) -> None:
        """The rows of a training or an audit, split. It may take minutes, so no session is open meanwhile."""
        if not self._rows_key:
            return
        if "rows_from" in self._job.config:
            write_few(self._ctx.storage.ensure(self._rows_key), self._job.config["rows_from"], self.path)
            return
        held = self._ctx.storage.ensure(self._held_key) if self._held_key else None
        write_split(self._ctx.storage.ensure(self._rows_key), held, self._split, self.path, stop)

    def _version(self) -> specs.IntakeSpec:
        """Rows of one data set become those of another."""
        parent = datasets.get_dataset(self._session, self._job.config["version_of"])
        return specs.IntakeSpec.model_validate(
            {
                "source": self._ctx.storage.path(parent.rows_key),
                "filename": parent.filename,
                "format": parent.format,
                "mapping": parent.mapping,
                "changes": self._job.config["changes"],
                "stats": parent.stats,
            }
        )

    def _intake(self) -> specs.IntakeSpec:
        if "version_of" in self._job.config:
            return self._version()
        dataset = datasets.get_dataset(self._session, self._job.subject_id)
        return specs.IntakeSpec(
            source=self._ctx.storage.path(dataset.source_key),
            filename=dataset.filename,
            fetch=self._fetch(dataset),
            **{name: self._job.config[name] for name in _CHOSEN if name in self._job.config},
            max_rows=self._ctx.settings.limits.rows,
            max_unpacked=self._ctx.settings.limits.unpacked_gb * 10**9,
        )

    def _fetch(self, dataset: Dataset) -> specs.HubFetch | specs.UrlFetch | None:
        """Where the source comes from, until it is known to be here: a file that nobody told of may lie there."""
        source, origin, settings = self._ctx.storage.path(dataset.source_key), dataset.origin, self._ctx.settings
        if not origin or dataset.sha256:
            return None
        self.written.append(source.with_name(source.name + FETCHING))
        most = settings.web.max_upload_bytes
        if origin["kind"] == "url":
            rules = settings.sources
            return specs.UrlFetch(
                url=origin["url"],
                hosts=tuple(rules.url_hosts),
                networks=tuple(rules.allowed_networks),
                max_bytes=most,
                seconds=rules.url_seconds,
            )
        if origin["with_token"]:
            self._give_token()
        return specs.HubFetch(
            repo_id=origin["repo_id"],
            config=origin["config"],
            split=origin["split"],
            revision=origin.get("commit") or origin["revision"],
            converted=origin.get("converted", False),
            offline=settings.hub.offline,
            with_token=origin["with_token"],
            max_bytes=most,
            max_unpacked=settings.limits.unpacked_gb * 10**9,
        )

    def _audit(self) -> specs.AuditSpec:
        wish = self._job.config
        dataset = datasets.get_dataset(self._session, self._job.subject_id)
        self._take_rows(dataset)
        model = self._model(wish["base_model"], wish["revision"])
        return specs.AuditSpec(model=model, rows_from=wish.get("rows_from"))

    def _training(self) -> tuple[Job, TrainConfig]:
        training = jobs.get_job(self._session, self._job.subject_id)
        return training, TrainConfig.model_validate(training.config)

    def _export(self) -> specs.ExportSpec:
        training, config = self._training()
        adapter = self._artifact(training, "adapter", "")
        settings = self._ctx.settings
        merged = self._ctx.storage.path(merged_key(training))
        self.written += [merged, merged.with_name(f".{merged.name}.part")]
        asked = [
            specs.AskedQuestion(question=pair.question, answer=pair.after.text if pair.after else "")
            for pair in answer_pairs(self._session, training)
        ]
        return specs.ExportSpec(
            model=self._model(config.base_model, config.revision),
            adapter=self._ctx.storage.path(adapter.storage_key),
            artifact=self._job.config["artifact"],
            quant=self._job.config["quant"],
            merged=merged,
            name=file_stem(training.name),
            asked=tuple(asked),
            llama_cpp_dir=settings.models.llama_cpp_dir,
            converter_dir=settings.converter,
            out=self.path / "out",
            threads=1,
        )

    def _artifact(self, training: Job, kind: str, quant: str) -> Artifact:
        for artifact in list_artifacts(self._session, training.id or 0):
            if (artifact.kind, artifact.quant) == (kind, quant):
                return artifact
        message = f"The {kind} {quant} of this training is gone. Export it again.".replace("  ", " ")
        raise NotFoundError(message)

    def _push(self) -> specs.PushSpec:
        training, config = self._training()
        wish = self._job.config
        self._give_token()
        if HUB_TOKEN not in self.secrets:
            raise ConflictError("There is no Hub token. Enter a token with write permission in Settings.")
        files = [self._push_file(training, kind, quant) for kind, quant in wish["what"]]
        return specs.PushSpec(
            repo_id=wish["repo_id"],
            private=wish["private"],
            files=tuple(files),
            card=self._card(training, config),
        )

    def _push_file(self, training: Job, kind: str, quant: str) -> specs.PushFile:
        artifact = self._artifact(training, kind, quant)
        path = self._ctx.storage.path(artifact.storage_key)
        return specs.PushFile.model_validate({"artifact": kind, "quant": quant, "path": path})

    def _card(self, training: Job, config: TrainConfig) -> dict[str, str | int | float | list[str]]:
        dataset = self._session.get(Dataset, training.subject_id)
        known = find(config.base_model)
        return {
            "name": training.name,
            "base_model": config.base_model,
            "licence": known.licence if known else "",
            "dataset": dataset.name if dataset else "",
            "rows": dataset.row_count if dataset else 0,
            "steps": training.step,
            "learning_rate": config.learning_rate,
            "lora_r": config.lora_r,
            "lora_alpha": config.lora_alpha,
            "effective_batch_size": config.effective_batch_size,
            "questions": [question.prompt for question in config.questions],
            **{f"score_{name}": _change(sides) for name, sides in scores(self._session, training.id or 0).items()},
        }


def _change(sides: dict[str, float]) -> str:
    """`4.1842 → 2.5222`, as far as both are known."""
    return " → ".join(f"{sides[side]:.4f}" for side in SIDES if side in sides)
