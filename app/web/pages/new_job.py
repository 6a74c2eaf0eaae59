"""A new job: the form, the panel that says what will happen, the questions proposed from the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlmodel import Session
from starlette.responses import Response

from app.core.context import Context
from app.domain.datasets import audits, sides
from app.domain.datasets import service as datasets
from app.domain.datasets.held_out import propose_questions
from app.domain.datasets.models import Dataset, DatasetState
from app.domain.datasets.split import Split
from app.domain.datasets.versions import newest_first
from app.domain.errors import InvalidError, TooManyError
from app.domain.jobs import service as jobs
from app.domain.jobs.config import Question, TrainConfig
from app.domain.jobs.launch import launch_training, split_of
from app.domain.jobs.models import Job
from app.domain.models.catalogue import check_model, check_revision, offered
from app.domain.sweeps import service as sweeps
from app.web.deps import MAX_ID, ContextDep, FormDep, SessionDep
from app.web.doors import about
from app.web.render import page, see_other
from app.web.render import translate as _
from app.web.views import sweep_form
from app.web.views.actions import priorities
from app.web.views.audits import AuditView, audit_view
from app.web.views.fields import ADVANCED, ADVANCED_NAMES, BASIC, BY_FILE, BY_NAME, HELD_OUT, SPLIT, defaults, written
from app.web.views.job_form import SHOWN_QUESTIONS, JobForm, put_questions, read_form, to_config, typed_questions
from app.web.views.outlook import outlook
from app.web.views.rescue import rescue

router = APIRouter(prefix="/jobs")
Ref = Annotated[int, Query(ge=0, le=MAX_ID)]


@router.get("/new")
def new_page(
    request: Request,
    session: SessionDep,
    ctx: ContextDep,
    dataset: Ref = 0,
    like: Ref = 0,
    less: Ref = 0,
    further: Ref = 0,
) -> Response:
    """The form, pre-filled with the settings of another job.

    `like`: to be changed; `less`: gentler, for it ran out of memory; `further`: to go on from its adapter.
    """
    copied = like or less or further
    form = _copy_of(session, copied) if copied else JobForm()
    if further:
        form.adapter_of = further
    if less and (gentler := rescue(session, ctx.settings, jobs.get_job(session, less))):
        form = _filled(form, gentler.config.model_dump(mode="json"))
    ready = [row for row in _offered(session) if row.state == DatasetState.READY]
    wanted = dataset or form.number
    chosen = next((row for row in ready if row.id == wanted), ready[0] if ready and not wanted else None)
    if chosen is None and wanted:  # another one must not slip in
        form.dataset_id = ""
        form.errors["dataset_id"] = _("The data set that was meant is gone, or not ready. Choose one.")
    if chosen is not None:
        form.dataset_id = str(chosen.id)
        form.name = form.name or chosen.name
        if not copied and sides.counts(chosen.stats).get(sides.VALIDATION):
            form.values["validation_dataset"] = BY_FILE
        if not copied:
            put_questions(form, _proposed(session, ctx, chosen, form))
    if not form.values["base_model"]:
        form.values["base_model"] = next(
            (offer.model.hub_id for offer in offered(ctx.settings) if not offer.why_not), ""
        )
    return _show(request, session, ctx, form)


def _copy_of(session: Session, job_id: int) -> JobForm:
    job = jobs.get_job(session, job_id)
    return _filled(JobForm(str(job.subject_id), job.name), job.config)


def _filled(form: JobForm, config: dict[str, Any]) -> JobForm:
    """`form` with the settings of `config`."""
    values = defaults()
    for name in BY_NAME:
        value = config.get(name)
        if value is not None:
            values[name] = (
                tuple(value) if isinstance(value, list) else value if isinstance(value, bool) else written(name, value)
            )
    if values.pop("split_by_file"):
        values["validation_dataset"] = BY_FILE
    questions = list(config.get("questions", []))
    return JobForm(form.dataset_id, form.name, values, questions, adapter_of=int(config.get("adapter_of", 0)))


def _show(request: Request, session: Session, ctx: Context, form: JobForm, status_code: int = 200) -> Response:
    rows = _offered(session)
    return page(
        request,
        "jobs/new.html",
        status_code=status_code,
        form=form,
        datasets=rows,
        offers=offered(ctx.settings),
        basic=BASIC,
        split=SPLIT,
        held_out=HELD_OUT,
        held_out_choices=_held_out_choices(rows),
        advanced=ADVANCED,
        advanced_open=bool(form.errors.keys() & ADVANCED_NAMES),
        shown_questions=SHOWN_QUESTIONS,
        priorities=[(choice["word"], choice["label"]) for choice in priorities()],
        goes_on_from=_goes_on_from(session, form),
        sweep_rows=sweep_form.rows(form),
        sweep_open=any(name or typed for name, typed in form.sweep),
        sweep_choices=sweep_form.choices(),
        **_panel(session, ctx, form, start=False),
    )


def _offered(session: Session) -> list[Dataset]:
    """The newest version of each data set first, then the earlier ones."""
    newest, earlier = newest_first(datasets.list_datasets(session))
    return newest + earlier


def _held_out_choices(rows: list[Dataset]) -> list[tuple[str, str]]:
    ready = [row for row in rows if row.state == DatasetState.READY]
    said = [(BY_FILE, _("As the file says"))] if any(sides.counts(row.stats) for row in ready) else []
    return [("0", _("A share of the rows")), *said, *((str(row.id), row.title) for row in ready)]


def _goes_on_from(session: Session, form: JobForm) -> str:
    """The name of the training whose adapter is gone on from."""
    before = session.get(Job, form.adapter_of) if form.adapter_of else None
    return before.name if before else ""


@router.post("")
def launch(request: Request, session: SessionDep, ctx: ContextDep, fields: FormDep) -> Response:
    """Queue the job, or show the form again with what is wrong."""
    form = read_form(fields)
    config, grid = to_config(form), sweep_form.grid_of(form)
    if config is None or form.errors:
        _check_rest(ctx, form)
        return _show(request, session, ctx, form, 422)
    try:
        return _start(request, session, ctx, form, config, grid)
    except InvalidError as exc:
        return _again(request, session, ctx, form, exc.errors, 422)
    except TooManyError as exc:
        if not grid:
            raise
        return _again(request, session, ctx, form, {sweep_form.first_place(): exc.message}, 429)


def _start(
    request: Request, session: Session, ctx: Context, form: JobForm, config: TrainConfig, grid: dict[str, list[Any]]
) -> Response:
    """One training, or one for each combination of what is to be tried."""
    number, name, priority = form.number, form.name, form.priority
    if grid:
        sweep = sweeps.launch(
            session,
            ctx.bells,
            ctx.settings,
            dataset_id=number,
            name=name,
            config=config,
            grid=grid,
            priority=priority,
        )
        about(request, f"sweep {sweep.id} “{sweep.name}”")
        return see_other(request, f"/sweeps/{sweep.id}")
    job = launch_training(
        session, ctx.bells, ctx.settings, dataset_id=number, name=name, config=config, priority=priority
    )
    about(request, f"job {job.id} “{job.name}”")
    return see_other(request, f"/jobs/{job.id}")


def _again(
    request: Request, session: Session, ctx: Context, form: JobForm, errors: dict[str, str], status: int
) -> Response:
    """The form as it was filled in, with what is wrong."""
    sweep_form.put_errors(form, errors)
    return _show(request, session, ctx, form, status)


def _check_rest(ctx: Context, form: JobForm) -> None:
    """What the config cannot know, so that all errors are told at once."""
    if not form.name:
        form.errors.setdefault("name", "Give the tuned model a name.")
    if not form.number:
        form.errors.setdefault("dataset_id", "Choose a data set.")
    refusal = check_model(ctx.settings, form.values["base_model"]) if form.values["base_model"] else ""
    if refusal:
        form.errors.setdefault("base_model", refusal)
    refusal = check_revision(form.values["revision"])
    if refusal:
        form.errors.setdefault("revision", refusal)


@router.post("/new/panel")
def panel(request: Request, session: SessionDep, ctx: ContextDep, fields: FormDep) -> Response:
    """The panel for what is typed now; starts the audit it needs."""
    form = read_form(fields)
    return page(request, "jobs/_panel.html", **_panel(session, ctx, form, start=True))


@router.post("/new/questions")
def questions(request: Request, session: SessionDep, ctx: ContextDep, fields: FormDep) -> Response:
    """Questions proposed from the rows of the data set chosen now."""
    form = read_form(fields)
    dataset = datasets.get_dataset(session, form.number)
    typed = typed_questions(fields)
    put_questions(form, _proposed(session, ctx, dataset, form))
    form.questions = [*typed, *form.questions][: max(SHOWN_QUESTIONS, len(typed))]
    return page(request, "jobs/_questions.html", form=form, shown_questions=SHOWN_QUESTIONS)


def _proposed(session: Session, ctx: Context, dataset: Dataset, form: JobForm) -> list[Question]:
    """From the rows that the job would hold out as the form stands; as by default where it is wrong still."""
    config = to_config(replace(form, values=form.values | {"base_model": "any/model"}, errors={}, questions=[]))
    split = split_of(config) if config else Split()
    held_out = datasets.get_dataset(session, split.dataset_id) if split.dataset_id else None
    return propose_questions(ctx.storage, dataset, split, held_out, SHOWN_QUESTIONS)


def _panel(session: Session, ctx: Context, form: JobForm, *, start: bool) -> dict[str, Any]:
    """Context of the panel. A field that is wrong shows up here as the first sentence, not as an error page."""
    form = replace(form, errors={})
    config, grid = to_config(form), sweep_form.grid_of(form)
    dataset = _dataset(session, form.number)
    found: dict[str, Any] = {"outlook": None, "audit": None, "has_data": dataset is not None, "planned": []}
    if config is not None and grid and not form.errors:
        found |= {"planned": sweep_form.planned(form, config, grid), "seeds": "seed" in grid}
    errors = list(form.errors.values())
    if dataset is None or config is None:
        return found | {"panel_errors": errors}
    refusal = check_model(ctx.settings, config.base_model) or check_revision(config.revision)
    audit = _audit(session, ctx, dataset, config, start=start) if not refusal else None
    told = outlook(session, ctx.settings, dataset, config, audit)
    return found | {"outlook": told, "audit": audit, "panel_errors": [refusal, *errors] if refusal else errors}


def _dataset(session: Session, number: int) -> Dataset | None:
    rows = [row for row in datasets.list_datasets(session) if row.id == number and row.state == DatasetState.READY]
    return rows[0] if rows else None


def _audit(session: Session, ctx: Context, dataset: Dataset, config: TrainConfig, *, start: bool) -> AuditView | None:
    key = (dataset.id or 0, config.base_model, config.revision, split_of(config))
    job = audits.find_audit(session, *key)
    if job is None and start:
        job = audits.request_audit(session, ctx.bells, *key)
    return audit_view(job, config.max_seq_length) if job is not None else None
