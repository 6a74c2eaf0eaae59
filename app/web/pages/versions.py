"""New versions of a data set: a row edited, rows left out, an earlier version taken up again; and what changed."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.datastructures import FormData
from starlette.responses import Response

from app.core.context import Context
from app.domain.datasets import service, versions
from app.domain.datasets.changes import Changes
from app.domain.datasets.models import Dataset
from app.domain.datasets.refusals import Row
from app.domain.datasets.sides import SIDES, counts
from app.domain.errors import ConflictError, InvalidError, NotFoundError
from app.web.deps import MAX_ID, ContextDep, FormDep, Id, SessionDep, text
from app.web.doors import about, request_session
from app.web.pages.dataset_rows import RowNumber
from app.web.render import page, see_other
from app.web.render import translate as _
from app.web.views.row_form import RowForm, can_be_edited, of_row, typed
from app.web.views.versions import change_view, change_words

router = APIRouter(prefix="/datasets/{dataset_id}")
_ROLES = ("system", "user", "assistant", "tool")


def read_dataset(request: Request, dataset_id: int) -> Dataset:
    """The data set, to be used when no transaction is open any more."""
    with request_session(request, write=False) as session:
        dataset = service.get_dataset(session, dataset_id)
        session.expunge(dataset)
    return dataset


def make(request: Request, ctx: Context, parent: Dataset, changes: Changes) -> Dataset:
    """A new version. What is small is written before the transaction that names it."""
    written = versions.write(ctx, parent, changes)
    try:
        with request_session(request, write=True) as session:
            made = versions.enter(session, ctx.bells, parent.id or 0, changes, written)
            about(request, f"dataset {made.id} “{made.title}”")
            session.expunge(made)
    except BaseException:
        if written is not None:
            versions.discard(ctx, written.key)
        raise
    return made


def _row(ctx: Context, dataset: Dataset, number: int) -> Row:
    found = service.preview_rows(ctx.storage, dataset, number - 1, 1) if number <= dataset.row_count else []
    if not found:
        raise NotFoundError(_("This data set has no row %(n)s.", n=number))
    return found[0]


@router.get("/rows/{number}/edit")
def edit_page(request: Request, ctx: ContextDep, dataset_id: Id, number: RowNumber) -> Response:
    """A row as a form."""
    dataset = read_dataset(request, dataset_id)
    row = _row(ctx, dataset, number)
    return _form(request, dataset, number, row, of_row(row) if not can_be_edited(row) else RowForm())


def _form(request: Request, dataset: Dataset, number: int, row: Row, form: RowForm, status_code: int = 200) -> Response:
    has_sides = "split" in row or bool(counts(dataset.stats))
    return page(
        request,
        "datasets/edit_row.html",
        status_code=status_code,
        dataset=dataset,
        number=number,
        form=form,
        roles=[(role, role) for role in _ROLES],
        sides=[("", _("says nothing")), *((side, side) for side in SIDES)] if has_sides else [],
        why_not=can_be_edited(row) or ("" if versions.can_change(dataset) else versions.NOT_NOW),
    )


@router.post("/rows/{number}/edit")
def edit(request: Request, ctx: ContextDep, dataset_id: Id, number: RowNumber, form: FormDep) -> Response:
    """A version in which this row is as it was typed; nothing typed is lost where something is wrong with it."""
    dataset = read_dataset(request, dataset_id)
    row = _row(ctx, dataset, number)
    if why_not := can_be_edited(row):
        raise ConflictError(why_not)
    wish = typed(form, row)
    changed = wish.checked()
    if changed == row:
        wish.error = _("Nothing was changed.")
    if changed is None or changed == row:
        return _form(request, dataset, number, row, wish, 422)
    made = make(request, ctx, dataset, Changes(kind="edited", edited={number - 1: changed}))
    return _lead(request, made, f"/rows/{number}")


def _lead(request: Request, made: Dataset, to: str = "") -> Response:
    if not made.rows_key:
        said = _("%(title)s is being written; it is large, so that takes a moment.", title=made.title)
        return see_other(request, f"/datasets/{made.id}", said)
    said = _("This is version %(n)s now: %(what)s.", n=made.version, what=change_words(made))
    return see_other(request, f"/datasets/{made.id}{to}", said)


@router.post("/exclude")
def exclude(request: Request, ctx: ContextDep, dataset_id: Id, form: FormDep) -> Response:
    """A version without the rows that were chosen, those that hold a text, or those that repeat others."""
    dataset = read_dataset(request, dataset_id)
    changes = _to_exclude(form)
    if any(number >= dataset.row_count for number in changes.excluded):
        raise NotFoundError(_("This data set has no such row."))
    made = make(request, ctx, dataset, changes)
    return _lead(request, made, "/rows" if changes.kind != "copies" else "")


def _to_exclude(form: FormData) -> Changes:
    match text(form, "what"):
        case "matching":
            if not text(form, "q"):
                raise InvalidError(_("Search for a text first."), field="q")
            return Changes(kind="matching", matching=text(form, "q"))
        case "copies":
            return Changes(kind="copies")
        case _:
            given = [str(each) for each in form.getlist("number")]
            numbers = {int(each) for each in given if re.fullmatch(r"[1-9][0-9]{0,9}", each)}
            if not numbers or max(numbers) > MAX_ID:
                raise InvalidError(_("Choose the rows first."), field="number")
            return Changes(kind="excluded", excluded=tuple(sorted(number - 1 for number in numbers)))


@router.post("/restore")
def restore(request: Request, ctx: ContextDep, dataset_id: Id) -> Response:
    """The newest version is to be like this one."""
    return _lead(request, make(request, ctx, read_dataset(request, dataset_id), Changes(kind="restored")))


@router.get("/changes")
def changes_page(request: Request, session: SessionDep, ctx: ContextDep, dataset_id: Id) -> Response:
    """What is different from the version that it was made from."""
    dataset = service.get_dataset(session, dataset_id)
    parent = _parent(session, dataset)
    found = change_view(ctx, dataset, parent)
    return page(request, "datasets/changes.html", dataset=dataset, parent=parent, words=change_words(dataset), **found)


def _parent(session: Session, dataset: Dataset) -> Dataset | None:
    parent = session.get(Dataset, dataset.parent_id) if dataset.parent_id else None
    return parent if parent is not None and parent.deleted_at is None else None
