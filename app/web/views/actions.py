"""What can be done with a job now: each a button, and a sentence that says what it leads to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.domain.jobs.models import Checkpoint, Job
from app.domain.jobs.ordering import priority_word
from app.domain.jobs.states import PRIORITIES, JobState
from app.domain.users.access import Actor, Role
from app.web import filters
from app.web.render import translate as _
from app.web.views.jobs import JobView


@dataclass(frozen=True)
class Action:
    """A button of a job's head. `href` leads to a page, else it posts to `post`; `ask`: id, title and verb."""

    label: str
    says: str
    icon: str
    post: str = ""
    href: str = ""
    kind: str = ""
    ask: tuple[str, str, str] | None = None
    fields: dict[str, str] = field(default_factory=dict)


def actions(view: JobView, place: int, actor: Actor, *, accounts: bool) -> list[Action]:
    """What `actor` may do, in the order of the head. `place`: its number in the queue, 0 when it does not wait."""
    here = f"/jobs/{view.row.id}"
    if not actor.has(Role.MEMBER):
        return []
    if not actor.owns(view.row.owner_id):
        return _again(view)
    found = _onward(view, here)
    if accounts:
        found.append(_share(view, here))
    if place > 1:
        said = _("puts it before all others that wait.")
        found.append(Action(_("Start next"), said, "arrow-up", post=f"{here}/first"))
    found += _again(view)
    if view.can_cancel:
        found.append(_cancel(view, here))
    found.append(_delete(view, here))
    return found


def _onward(view: JobView, here: str) -> list[Action]:
    if view.succeeded:
        model = f"/models/{view.row.id}"
        further = _("starts a new job from this adapter, on the same or on other rows.")
        return [
            Action(
                _("Open the model"), _("shows how good it is, and how to run it."), "boxes", href=model, kind="primary"
            ),
            Action(_("Train further"), further, "play", href=f"/jobs/new?further={view.row.id}"),
        ]
    if view.can_resume:
        said = _("queues it again; it goes on from its last checkpoint.")
        return [Action(_("Resume"), said, "play", post=f"{here}/resume", kind="primary")]
    if view.can_pause:
        said = _("saves a checkpoint and frees the worker; nothing is lost.")
        return [Action(_("Pause"), said, "pause", post=f"{here}/pause")]
    return []


def _again(view: JobView) -> list[Action]:
    if view.failed:
        return []  # the panel that says why offers them
    said = _("opens the form with these settings for a new job; this one stays as it is.")
    edit = Action(_("Change and run again"), said, "copy", href=f"/jobs/new?like={view.row.id}")
    if not view.is_final:
        return [edit]
    same = _("queues a new job with the very same settings.")
    return [edit, Action(_("Run again"), same, "rotate-ccw", post=f"/jobs/{view.row.id}/retry")]


def _share(view: JobView, here: str) -> Action:
    if view.row.shared:
        said = _("hides it again from everybody but you and the administrators.")
        return Action(_("Unshare"), said, "lock", post=f"{here}/share", fields={"shared": "no"})
    said = _("lets everybody who signs in see it, and take its files away.")
    return Action(_("Share"), said, "users", post=f"{here}/share", fields={"shared": "yes"})


def _cancel(view: JobView, here: str) -> Action:
    title = _("Cancel “%(name)s”?", name=view.row.name[:80])
    said = _("stops it for good; what it wrote so far stays to be looked at.")
    return Action(
        _("Cancel"), said, "x", f"{here}/cancel", kind="danger", ask=("cancel-job", title, _("Cancel the job"))
    )


def _delete(view: JobView, here: str) -> Action:
    title = _("Delete “%(name)s”?", name=view.row.name[:80])
    said = _("removes its numbers, answers and files for good.")
    if not view.is_final:
        said = _("stops it, and removes its numbers, answers and files for good.")
    asks = ("delete-job", title, _("Delete the job"))
    return Action(_("Delete"), said, "trash-2", f"{here}/delete", kind="quiet", ask=asks)


def priorities(priority: int = 0) -> list[dict[str, Any]]:
    """The choices of when a waiting job starts; the present one is marked."""
    words = {
        "urgent": _("Urgent: before all others"),
        "normal": _("Normal: in turn"),
        "whenever": _("Whenever: when nothing else waits"),
    }
    now = priority_word(priority)
    return [{"word": word, "label": words[word], "current": word == now} for word in PRIORITIES]


def line_items(found: list[Job], actor: Actor) -> list[dict[str, Any]]:
    """Waiting jobs as the list of the queue shows them to `actor`: of others' only that they are there."""
    return [
        {
            "row": job,
            "place": place,
            "priority": priority_word(job.priority),
            "seen": actor.sees(job.owner_id, shared=job.shared),
            "mine": actor.owns(job.owner_id),
        }
        for place, job in enumerate(found, start=1)
    ]


def checkpoint_items(found: list[Checkpoint]) -> list[dict[str, Any]]:
    """The checkpoints that are kept, the newest first."""
    return [
        {
            "step": filters.number(checkpoint.step),
            "loss": filters.loss(checkpoint.eval_loss),
            "best": checkpoint.best,
            "newest": number == 0,
            "size": filters.filesize(checkpoint.size),
            "at": checkpoint.created_at,
        }
        for number, checkpoint in enumerate(found)
    ]


def place_of(job: Job, waiting: dict[str, Any] | None) -> int:
    """The job's number in its queue; 0 when it does not wait."""
    return int(waiting["position"]) if waiting and job.state == JobState.QUEUED else 0
