"""Rows as the worker leaves them, written by the domain's own functions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from app.core.context import Context
from app.core.db import utcnow
from app.domain.datasets import audits
from app.domain.datasets import service as datasets
from app.domain.datasets.audit import (
    AuditReport,
    Bin,
    Copies,
    Language,
    Pair,
    RoleFinding,
    SecretExample,
    SecretFinding,
    Spread,
    SystemPrompt,
    SystemPrompts,
)
from app.domain.deliveries import outbox, setup
from app.domain.deliveries import service as deliveries
from app.domain.deliveries.models import Channel
from app.domain.jobs import service as jobs
from app.domain.jobs.config import Question, TrainConfig
from app.domain.jobs.models import Answer, Artifact, Job, JobAttempt, JobEvent, Metric, Score
from app.domain.jobs.states import JobKind, JobState
from app.domain.models.catalogue import BUNDLED
from app.domain.sweeps.models import Sweep

CONFIG = TrainConfig(base_model=BUNDLED, questions=(Question(prompt="Why is the sky blue?", expected="Scattering."),))


def row(number: int) -> dict[str, Any]:
    """A canonical row."""
    user = {"role": "user", "content": f"Question {number}?"}
    return {"messages": [user, {"role": "assistant", "content": f"Answer {number}.", "reasoning": "Because."}]}


def lines(*rows: object) -> bytes:
    """JSON lines; bytes stand as they are."""
    return b"".join((item if isinstance(item, bytes) else json.dumps(item).encode()) + b"\n" for item in rows)


def dataset(session: Session, ctx: Context, name: str = "rows", rows: int = 20, problems: int = 0) -> int:
    """A data set whose intake is through."""
    data = lines(*[row(i) for i in range(rows)])
    key = f"datasets/{name}.jsonl"
    ctx.storage.make_parent(key).write_bytes(data)
    digest = hashlib.sha256(data + name.encode()).hexdigest()
    made = datasets.create_from_upload(
        session, ctx.bells, name=name, filename=f"{name}.jsonl", size=len(data), sha256=digest, source_key=key
    )
    dataset_id = made.id or 0
    for line in range(problems):
        bad = {"line": line + 1, "offset": line, "code": "invalid_json", "message": "Not JSON.", "excerpt": "{<b>"}
        datasets.store_problem(session, dataset_id, bad)
    found = {"format": "messages", "mapping": {}, "rows": rows, "problems": problems, "stats": {"turns": 2 * rows}}
    datasets.store_intake(session, dataset_id, key, found)
    end(session, jobs.list_jobs(session, kinds=(JobKind.INTAKE,), subject_id=dataset_id)[0])
    return dataset_id


def end(session: Session, job: Job, state: JobState = JobState.SUCCEEDED, **values: Any) -> None:
    """From queued through running to `state`."""
    assert jobs.move(session, job.id or 0, [JobState.QUEUED], JobState.RUNNING, attempt=1, worker="w")
    assert jobs.move(session, job.id or 0, [JobState.RUNNING], state, **values)


def training(session: Session, ctx: Context, dataset_id: int, name: str = "tuned", **changes: Any) -> Job:
    """A queued training."""
    config = CONFIG.model_copy(update=changes).model_dump(mode="json")
    return jobs.enqueue(session, ctx.bells, kind=JobKind.TRAIN, subject_id=dataset_id, name=name, config=config)


def run(session: Session, job: Job, steps: int = 8, total: int = 10) -> None:
    """The job runs and has stepped."""
    job_id = job.id or 0
    begun: dict[str, Any] = {"attempt": 1, "worker": "w", "phase": "training", "step": steps, "total_steps": total}
    assert jobs.move(session, job_id, [JobState.QUEUED], JobState.RUNNING, started_at=job.created_at, **begun)
    session.add(JobAttempt(job_id=job_id, attempt=1, worker="w"))
    for step in range(1, steps + 1):
        event(session, job_id, "metric", {"values": {"loss": 3 / step}, "total_steps": total}, step)
        session.add(Metric(job_id=job_id, attempt=1, name="loss", step=step, value=3 / step))
    session.flush()


def event(session: Session, job_id: int, kind: str, payload: dict[str, Any], step: int | None = None) -> None:
    """One more event, numbered as the fence numbers them."""
    job = session.get_one(Job, job_id)
    job.event_seq += 1
    session.add(JobEvent(job_id=job_id, seq=job.event_seq, attempt=1, step=step, kind=kind, payload=payload))
    session.flush()


def finish(session: Session, ctx: Context, job: Job) -> dict[str, int]:
    """The running job succeeds, with answers, scores and files. Returns the artifacts' ids by kind."""
    job_id = job.id or 0
    for side, text in (("before", "It is blue."), ("after", "It is blue, dear child.")):
        session.add(Answer(job_id=job_id, prompt=0, side=side, text=text, reasoning="Hm.", tokens=4, seconds=0.5))
        session.add(Score(job_id=job_id, name="eval_loss", side=side, value=2.0 if side == "before" else 1.0))
    made = [_folder(ctx, job_id), _file(ctx, job_id)]
    session.add_all(made)
    assert jobs.move(session, job_id, [JobState.RUNNING], JobState.SUCCEEDED)
    return {artifact.kind: artifact.id or 0 for artifact in made}


def _folder(ctx: Context, job_id: int) -> Artifact:
    key = f"runs/{job_id}/adapter"
    folder = ctx.storage.path(key)
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"weights" * 200_000)
    (folder / "nested").mkdir()
    (folder / "nested" / "config.json").write_text("{}")
    return Artifact(job_id=job_id, made_by=job_id, kind="adapter", storage_key=key, size=1_400_000, sha256="ab" * 32)


def _file(ctx: Context, job_id: int) -> Artifact:
    key = f"runs/{job_id}/tuned.q8_0.gguf"
    ctx.storage.make_parent(key).write_bytes(b"GGUF" + bytes(5000))
    proof = {"verdict": "same", "sentence": "Answers alike.", "tokens_equal": True}
    return Artifact(
        job_id=job_id, made_by=job_id, kind="gguf", quant="q8_0", storage_key=key, size=5004, sha256="cd", proof=proof
    )


REPORT = AuditReport(
    rows=20,
    validation_rows=2,
    tokens_total=900,
    supervised_total=400,
    histogram=(Bin(start=0, end=32, rows=5), Bin(start=32, end=64, rows=15)),
    max_seq_length=64,
    proposed_max_seq_length=64,
    cut_rows=3,
    cut_tokens=9,
    nothing_supervised=0,
    end_of_turn_supervised=1.0,
    end_of_turn="<|im_end|>",
    reasoning_rows=0,
    reasoning_kept=True,
    template_changed=False,
    template_note="",
    problems=(),
    problem_counts={},
    length_counts=((40, 15), (60, 2), (67, 3)),
    first_counts=((20, 20),),
    row_lengths=Spread(p10=20, p50=45, p90=58, p99=60, max=61),
    learned_lengths=Spread(p10=8, p50=20, p90=28, p99=30, max=31),
    copies=Copies(exact=1, near=1, leaked=0, nearly_leaked=0, compared=20, examples=(Pair(row=7, like=3),)),
    system_prompts=SystemPrompts(rows_without=2, distinct=1, common=(SystemPrompt(text="You repeat words.", rows=18),)),
    languages=(Language(code="en", rows=20),),
    languages_looked_at=20,
    roles=(RoleFinding(code="two_questions", rows=1, first_row=4),),
    secrets=(SecretFinding(kind="email", rows=1, found=2, examples=(SecretExample(row=5, masked="an… (18)"),)),),
    sample=(),
)


def audit(session: Session, ctx: Context, dataset_id: int) -> Job:
    """A finished audit for the bundled model."""
    job = audits.request_audit(session, ctx.bells, dataset_id, BUNDLED)
    end(session, job, result=REPORT.model_dump(mode="json"))
    return job


MAIL = {"host": "smtp.example.org", "sender": "tunedeck@example.org", "recipients": ("you@example.org",)}


def notifications(session: Session, ctx: Context) -> None:
    """Both ways of sending messages, a message that got through and one that did not."""
    setup.save(session, Channel.WEBHOOK, {"url": "https://example.org/hook"})
    setup.set_signing_secret(session, ctx.settings)
    setup.save(session, Channel.EMAIL, MAIL)
    for ok in (True, False):
        made = outbox.test_message(session, Channel.WEBHOOK)
        claimed = deliveries.claim(session, made.id or 0)
        assert claimed is not None
        tried = {"at": utcnow().isoformat(), "target": "https://example.org/hook", "seconds": 0.1}
        answer = {"status": 200, "answer": "ok"} if ok else {"status": 410, "answer": "<b>gone</b>"}
        assert deliveries.settle(session, claimed, tried | answer, ok=ok, lasting=not ok)


@dataclass(frozen=True)
class World:
    """One of everything."""

    dataset: int
    problems: int
    running: int
    done: int
    failed: int
    queued: int
    adapter: int
    gguf: int
    sweep: int


def world(ctx: Context) -> World:
    """A data folder that shows every kind of page full."""
    with ctx.db.session(write=True) as session:
        good, bad = dataset(session, ctx, "good"), dataset(session, ctx, "bad", problems=2)
        audit(session, ctx, good)
        running, done, failed = (training(session, ctx, good, name) for name in ("running", "done", "failed"))
        run(session, running)
        run(session, done)
        files = finish(session, ctx, done)
        end(
            session,
            failed,
            JobState.FAILED,
            error={"class": "nan_loss", "message": "The loss is NaN.", "advice": "Lower it."},
        )
        queued = training(session, ctx, good, "queued")
        sweep = Sweep(name="sweep", fields=["learning_rate", "lora_r"])
        session.add(sweep)
        session.flush()
        for job in (running, done, failed, queued):
            job.sweep_id = sweep.id
        one, two, three, four = (job.id or 0 for job in (running, done, failed, queued))
    return World(good, bad, one, two, three, four, files["adapter"], files["gguf"], sweep.id or 0)
