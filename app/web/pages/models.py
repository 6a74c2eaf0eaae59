"""Models: finished trainings, seen from the end."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.domain.datasets import service as datasets
from app.domain.errors import NotFoundError
from app.domain.evaluations import service as evaluations
from app.domain.exports import service as exports
from app.domain.jobs import service as jobs
from app.domain.jobs.states import LIVE, JobKind, JobState
from app.domain.secrets import service as secrets
from app.web.deps import ContextDep, Id, SessionDep
from app.web.render import page
from app.web.views.answers import pair_view
from app.web.views.exports import commands, export_views, push_views
from app.web.views.jobs import job_view
from app.web.views.numbers import score_items

router = APIRouter(prefix="/models")


@router.get("")
def list_page(request: Request, session: SessionDep) -> Response:
    """Every finished training, newest first."""
    found = jobs.list_jobs(session, states=(JobState.SUCCEEDED,), limit=200)
    ids = [job.id or 0 for job in found]
    files = exports.artifacts_of(session, ids)
    scores = evaluations.scores_of(session, ids)
    names = datasets.names(session, (job.subject_id for job in found))
    rows = [
        {
            "job": job_view(job),
            "dataset": names.get(job.subject_id, ""),
            "files": files.get(job.id or 0, []),
            "scores": score_items(scores.get(job.id or 0, {})),
        }
        for job in found
    ]
    return page(request, "models/list.html", rows=rows)


@router.get("/{job_id}")
def detail_page(request: Request, session: SessionDep, ctx: ContextDep, job_id: Id) -> Response:
    """How good a model is, how to run it, and its files."""
    job = jobs.get_job(session, job_id)
    if job.kind != JobKind.TRAIN or job.state != JobState.SUCCEEDED:
        raise NotFoundError("There is no finished model at this address. Its training may not have succeeded yet.")
    makers = exports.export_jobs(session, job_id)
    views = export_views(ctx.storage, exports.list_artifacts(session, job_id), makers)
    gguf = next((view for view in views if view.choice.artifact == "gguf" and view.artifact), None)
    return page(
        request,
        "models/detail.html",
        partials={"job-exports": "jobs/_exports.html"},
        job=job_view(job),
        seq=job.event_seq,
        live=any(maker.job_state in LIVE for maker in makers),
        dataset=datasets.names(session, [job.subject_id]).get(job.subject_id, ""),
        scores=score_items(evaluations.scores(session, job_id)),
        pairs=[pair_view(pair) for pair in evaluations.answer_pairs(session, job)],
        exports=views,
        may_push=exports.may_push(session, ctx.settings),
        has_token=secrets.find_secret(session, secrets.HUB_TOKEN) is not None,
        pushes=push_views(makers),
        gguf=gguf,
        commands=commands(job.name, gguf) if gguf else [],
    )
