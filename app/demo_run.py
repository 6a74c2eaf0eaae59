"""`tunedeck demo` in the terminal: starts the sample job through the database and tells how it goes."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable

from app.core.context import make_context
from app.core.settings import Settings
from app.domain import tables
from app.domain.datasets.models import DatasetState
from app.domain.datasets.service import get_dataset
from app.domain.demo import start_demo
from app.domain.evaluations.service import answer_pairs, scores
from app.domain.exports.service import list_artifacts, request_export
from app.domain.jobs import service as jobs
from app.domain.jobs.models import Artifact, Job
from app.domain.jobs.states import FINAL, JobKind, JobState
from app.domain.metrics.service import latest

__all__ = ["DemoRun", "tables"]

_QUANT = "q4_k_m"


class DemoRun:
    """One run of the demo; `follow` is called again and again until it says True."""

    def __init__(self, settings: Settings, address: str, say: Callable[[str], None]) -> None:
        self._ctx = make_context(settings)
        self._address = address
        self._say = say
        self._began = time.monotonic()
        self._dataset_id = 0
        self._training = 0
        self._export = 0
        self._last = ""
        self._ended = False
        self.exit_code = 1

    def begin(self) -> None:
        """Put the sample in and call the workers."""
        with self._ctx.db.session(write=True) as session:
            self._dataset_id = start_demo(session, self._ctx).id or 0
        self._say("The sample data set is in; its job starts as soon as it is checked.")

    def follow(self) -> bool:
        """Tell what is new; True when the demo has ended, well or badly."""
        if self._ended:
            return True
        if not self._training:
            self._find_training()
        elif not self._export:
            self._follow_training()
        else:
            self._follow_export()
        return self._ended

    def _tell(self, line: str) -> None:
        if line != self._last:
            self._last = line
            self._say(f"[{time.monotonic() - self._began:5.0f} s] {line}")

    def _stop(self, line: str) -> None:
        self._tell(line)
        self._ended = True

    def _find_training(self) -> None:
        with self._ctx.db.session() as session:
            dataset = get_dataset(session, self._dataset_id)
            found = jobs.list_jobs(session, subject_id=self._dataset_id)
        if dataset.state == DatasetState.FAILED:
            self._stop(f"The sample could not be read: {dataset.error}")
        elif found:
            self._training = found[0].id or 0
            self._say(f"Watch it here: {self._address}/jobs/{self._training}")

    def _follow_training(self) -> None:
        with self._ctx.db.session() as session:
            job = jobs.get_job(session, self._training)
            loss = latest(session, self._training).get("loss")
        if job.job_state not in FINAL:
            self._tell(_progress(job, loss))
            return
        if job.state != JobState.SUCCEEDED:
            self._stop(f"The job ended as {job.state}. {job.error.get('message', '')} {job.error.get('advice', '')}")
            return
        self._show_answers()
        with self._ctx.db.session(write=True) as session:
            self._export = request_export(session, self._ctx.bells, self._training, "gguf", _QUANT).id or 0

    def _show_answers(self) -> None:
        with self._ctx.db.session() as session:
            job = jobs.get_job(session, self._training)
            pairs, numbers = answer_pairs(session, job), scores(session, self._training)
        for pair in pairs:
            self._say(f"\n  {pair.question.prompt}")
            for side, answer in (("before", pair.before), ("after", pair.after)):
                text = " ".join(answer.text.split()) if answer else "–"
                self._say(textwrap.fill(text, 110, initial_indent=f"    {side:>6}: ", subsequent_indent=" " * 12))
        if "eval_loss" in numbers:
            loss = numbers["eval_loss"]
            self._say(
                f"\n  loss on held-out rows: {loss.get('before', 0):.4f} before, {loss.get('after', 0):.4f} after\n"
            )

    def _follow_export(self) -> None:
        with self._ctx.db.session() as session:
            job = jobs.get_job(session, self._export)
            made = [a for a in list_artifacts(session, self._training) if a.kind == "gguf"]
        if job.job_state not in FINAL:
            self._tell(f"GGUF {_QUANT}: {job.phase or job.state}")
        elif job.state != JobState.SUCCEEDED or not made:
            self._stop(f"The export ended as {job.state}. {job.error.get('message', '')} {job.error.get('advice', '')}")
        else:
            self._show_file(made[-1])

    def _show_file(self, artifact: Artifact) -> None:
        self.exit_code = 0
        path = self._ctx.storage.ensure(artifact.storage_key)
        self._say(f"\nGGUF: {path} ({artifact.size / 1e6:.0f} MB)")
        sentence = artifact.proof.get("sentence")
        if sentence:
            self._say(f"Proof: {sentence}")
        self._stop(f"Done. Read more at {self._address}/jobs/{self._training}")


def _progress(job: Job, loss: float | None) -> str:
    if job.kind != JobKind.TRAIN or not job.phase:
        return f"job {job.id}: {job.state}"
    words = job.phase.replace("_", " ")
    if job.phase == "training" and job.total_steps:
        shown = f", loss {loss:.4f}" if loss is not None else ""
        return f"{words}: step {job.step} of {job.total_steps}{shown}"
    if job.phase_total:
        return f"{words}: {job.phase_done or 0:.0f} of {job.phase_total:.0f} {job.phase_unit}"
    return words
