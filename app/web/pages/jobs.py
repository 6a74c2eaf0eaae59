"""The page of a job, what can be done with it, its curves as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from app.core.context import Context
from app.core.live import Bells
from app.domain.datasets import service as datasets
from app.domain.datasets.models import Dataset
from app.domain.evaluations import service as evaluations
from app.domain.exports import service as exports
from app.domain.jobs import checkpoints, holding, ordering, owners, service
from app.domain.jobs.launch import repeat
from app.domain.jobs.models import Job
from app.domain.jobs.states import FINAL, LIVE, JobKind, JobState
from app.domain.metrics import service as metrics
from app.domain.metrics.pace import busy_seconds, seconds_per_step
from app.domain.metrics.signs import signs
from app.domain.preferences import service as preferences
from app.domain.preferences.service import Prices
from app.domain.secrets import service as secrets
from app.domain.users.access import Actor, Role
from app.domain.workers import service as workers
from app.web.deps import ActorDep, ContextDep, FormDep, Id, SessionDep, text
from app.web.render import page, see_other
from app.web.render import translate as _
from app.web.views.actions import actions, checkpoint_items, place_of, priorities
from app.web.views.answers import pair_view
from app.web.views.charts import charts
from app.web.views.chosen import settings_view
from app.web.views.demands import unmet_words
from app.web.views.exports import export_views, push_views
from app.web.views.jobs import job_view, log_view, phase_items
from app.web.views.numbers import gpu_hours, reread_words, score_items, stat_items
from app.web.views.owners import owner_words
from app.web.views.rescue import rescue
from app.web.views.signs import Warned, warned

router = APIRouter(prefix="/jobs")
#: Parts of the page of a job that follow its events by themselves.
PARTIALS = {
    "job-progress": "jobs/_progress.html",
    "job-answers": "jobs/_answers.html",
    "job-exports": "jobs/_exports.html",
    "job-machine": "jobs/_machine.html",
    "job-signs": "jobs/_signs.html",
}
#: Points of each curve that are looked through for signs.
_SIGN_POINTS = 1000
WAITING = frozenset({JobState.QUEUED, JobState.PAUSED})


@router.get("/{job_id}")
def detail_page(request: Request, session: SessionDep, ctx: ContextDep, actor: ActorDep, job_id: Id) -> Response:
    """One job. Intakes and audits lead to their data set, exports and pushes to their training."""
    job = service.get_job(session, job_id)
    if job.kind in {JobKind.INTAKE, JobKind.AUDIT}:
        return see_other(request, f"/datasets/{job.subject_id}")
    if job.kind != JobKind.TRAIN:
        return see_other(request, f"/jobs/{job.subject_id}#exports")
    return page(request, "jobs/detail.html", partials=PARTIALS, **_detail(session, ctx, actor, job))


def _detail(session: Session, ctx: Context, actor: Actor, job: Job) -> dict[str, Any]:
    job_id = job.id or 0
    # Read first: what is committed after this number reaches the page as an event.
    seq = job.event_seq
    makers = exports.export_jobs(session, job_id)
    scores = evaluations.scores(session, job_id)
    latest = metrics.latest(session, job_id)
    pace = seconds_per_step(session, [job]) if job.state == JobState.RUNNING else {}
    view, waiting = job_view(job, pace.get(job_id)), _waiting(session, job)
    return {
        "job": view,
        "actions": actions(view, place_of(job, waiting), actor, accounts=ctx.settings.web.accounts),
        "mine": actor.owns(job.owner_id),
        "owner": owner_words(session, ctx, actor, job.owner_id, shared=job.shared),
        "priorities": priorities(job.priority) if job.job_state in WAITING and actor.owns(job.owner_id) else [],
        "checkpoints": checkpoint_items(checkpoints.of_job(session, job_id)),
        "seq": seq,
        "live": job.job_state in LIVE or any(maker.job_state in LIVE for maker in makers),
        "dataset": datasets.names(session, [job.subject_id]).get(job.subject_id, ""),
        "phases": phase_items(job),
        "stats": _stats(session, job, latest) if latest else [],
        "scores": score_items(scores),
        "reread": reread_words(evaluations.reread(session, job_id)),
        "pairs": [pair_view(pair) for pair in evaluations.answer_pairs(session, job)],
        "log": [log_view(event) for event in service.log_lines(session, job_id)],
        "settings": settings_view(job.config),
        "exports": export_views(ctx.storage, exports.list_artifacts(session, job_id), makers),
        "pushes": push_views(makers),
        "waiting": waiting,
        "has_metrics": bool(latest),
        "charts": charts(latest),
        "restarted": job.attempt > 1,
        "signs": _signs(session, job),
        "may_push": exports.may_push(session, ctx.settings),
        "has_token": secrets.find_secret(session, secrets.HUB_TOKEN) is not None,
        "rescue": _rescue(session, ctx, actor, job),
    }


def _signs(session: Session, job: Job) -> list[Warned]:
    """What its curves warn of, while it trains and afterwards."""
    curves = metrics.series(session, job.id or 0, ("loss", "eval_loss", "grad_norm"), _SIGN_POINTS)
    if not curves:
        return []
    dataset = session.get(Dataset, job.subject_id)
    rows = dataset.row_count or 0 if dataset else 0
    config = job.config
    split = float(config.get("validation_split") or 0.0) if not config.get("validation_dataset") else 0.0
    epochs = 0.0 if config.get("max_steps") else float(config.get("num_train_epochs") or 0)
    return warned(signs(curves, rows=int(rows * (1 - split)), epochs=epochs))


def _rescue(session: Session, ctx: Context, actor: Actor, job: Job) -> Any:
    if job.state != JobState.FAILED or not actor.has(Role.MEMBER):
        return None
    return rescue(session, ctx.settings, job)


def _stats(session: Session, job: Job, latest: dict[str, float]) -> list[dict[str, Any]]:
    """The tiles of a job that has stepped."""
    newest = _newest(session, job.id or 0)
    tiles = stat_items(job, latest, metrics.first(session, job.id or 0), newest)
    prices = preferences.read(session, Prices)
    return tiles + gpu_hours(job, busy_seconds(session, job), newest.get("gpu", {}), prices)


def _newest(session: Session, job_id: int) -> dict[str, dict[str, Any]]:
    """The newest payload of each kind of event that tells how things stand now."""
    found = {kind: service.last_of_kind(session, job_id, kind) for kind in ("metric", "gpu")}
    return {kind: event.payload for kind, event in found.items() if event is not None}


def _waiting(session: Session, job: Job) -> dict[str, Any] | None:
    """Why a queued job has not started."""
    if job.state != JobState.QUEUED:
        return None
    return {
        "position": ordering.queue_position(session, job),
        "served": workers.someone_serves(session, job.queue),
        "unmet": unmet_words(session, job.queue, job),
        "queue": job.queue,
        "held": job.queue in holding.held(session),
        "not_before": job.not_before,
        "losses": job.losses,
    }


def _act(
    request: Request, session: Session, bells: Bells, job_id: int, act: Callable[[Session, Bells, int], None], said: str
) -> Response:
    act(session, bells, job_id)
    job = service.get_job(session, job_id)
    place = f"/jobs/{job_id}" if job.kind == JobKind.TRAIN else _home_of(job)
    return see_other(request, place, said)


def _home_of(job: Job) -> str:
    return (
        f"/datasets/{job.subject_id}"
        if job.kind in {JobKind.INTAKE, JobKind.AUDIT}
        else f"/jobs/{job.subject_id}#exports"
    )


@router.post("/{job_id}/cancel")
def cancel(request: Request, session: SessionDep, ctx: ContextDep, job_id: Id) -> Response:
    """Stop for good."""
    waiting = service.get_job(session, job_id).job_state in WAITING
    said = _("Cancelled.") if waiting else _("Cancelling. It stops at its next step.")
    return _act(request, session, ctx.bells, job_id, service.cancel, said)


@router.post("/{job_id}/pause")
def pause(request: Request, session: SessionDep, ctx: ContextDep, job_id: Id) -> Response:
    """Save a checkpoint and leave the worker."""
    return _act(request, session, ctx.bells, job_id, service.pause, _("Pausing after the next checkpoint."))


@router.post("/{job_id}/resume")
def resume(request: Request, session: SessionDep, ctx: ContextDep, job_id: Id) -> Response:
    """Go on from the last checkpoint."""
    return _act(
        request, session, ctx.bells, job_id, service.resume, _("Queued again. It goes on from its last checkpoint.")
    )


@router.post("/{job_id}/first")
def first(request: Request, session: SessionDep, ctx: ContextDep, job_id: Id) -> Response:
    """Before all others that wait."""
    return _act(request, session, ctx.bells, job_id, ordering.start_next, _("It starts next."))


@router.post("/{job_id}/priority")
def priority(request: Request, session: SessionDep, ctx: ContextDep, job_id: Id, form: FormDep) -> Response:
    """Before all others, in turn, or when nothing else waits."""
    ordering.set_priority(session, ctx.bells, job_id, text(form, "priority"))
    return see_other(request, f"/jobs/{job_id}", _("The order was changed."))


@router.post("/{job_id}/share")
def share(request: Request, session: SessionDep, job_id: Id, form: FormDep) -> Response:
    """Let everybody see it and take what was made of it away, or nobody but its owner."""
    shared = text(form, "shared") == "yes"
    owners.share(session, job_id, shared=shared)
    said = _("Everybody who signs in may see it now.") if shared else _("It is yours alone again.")
    return see_other(request, f"/jobs/{job_id}", said)


@router.post("/{job_id}/retry")
def retry(request: Request, session: SessionDep, ctx: ContextDep, job_id: Id) -> Response:
    """A new job with the same settings."""
    job = repeat(session, ctx.bells, ctx.settings, job_id)
    place = f"/jobs/{job.id}" if job.kind == JobKind.TRAIN else _home_of(job)
    return see_other(request, place, _("Queued again as a new job."))


@router.post("/{job_id}/delete")
def delete(request: Request, session: SessionDep, ctx: ContextDep, job_id: Id) -> Response:
    """Cancel it if it lives, and forget it with its files."""
    job = service.get_job(session, job_id)
    running = job.job_state not in FINAL
    place = "/jobs" if job.kind == JobKind.TRAIN else _home_of(job)
    service.delete(session, ctx.bells, job_id)
    stopping = _("“%(name)s” is being stopped and will be deleted.", name=job.name)
    gone = _("“%(name)s” was deleted.", name=job.name)
    return see_other(request, place, stopping if running else gone)


@router.post("/{job_id}/export")
def export(request: Request, session: SessionDep, ctx: ContextDep, job_id: Id, form: FormDep) -> Response:
    """Make an artifact."""
    exports.request_export(session, ctx.bells, job_id, text(form, "artifact"), text(form, "quant"))
    return see_other(request, f"/jobs/{job_id}#exports")


@router.post("/{job_id}/push")
def push(request: Request, session: SessionDep, ctx: ContextDep, job_id: Id, form: FormDep) -> Response:
    """Send artifacts to the Hub."""
    what = [(kind, quant) for kind, _sep, quant in (str(value).partition(":") for value in form.getlist("what"))]
    exports.request_push(
        session,
        ctx.bells,
        ctx.settings,
        job_id,
        repo_id=text(form, "repo_id"),
        private=text(form, "visibility") != "public",
        what=what,
    )
    return see_other(request, f"/jobs/{job_id}#exports", _("The push is on its way."))
