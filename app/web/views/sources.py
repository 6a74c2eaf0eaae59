"""The page on which data comes in, and a data set that is on its way from elsewhere: words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from starlette.responses import Response

from app.core.context import Context
from app.domain.datasets.addresses import shown
from app.domain.datasets.models import Dataset
from app.domain.uploads import service as uploads
from app.web import filters
from app.web.doors import session_of
from app.web.render import page, translate_many
from app.web.render import translate as _

#: All fields of all forms there.
_EMPTY = dict.fromkeys(("file", "repo_id", "config", "split", "revision", "source_url"), "")


def new_page(
    request: Request,
    ctx: Context,
    errors: Mapping[str, str] | None = None,
    given: Mapping[str, str] | None = None,
    status_code: int = 200,
) -> Response:
    """All the ways in. `errors`: field -> sentence; `given`: what was filled in."""
    with session_of(request) as session:
        parts = uploads.unfinished(session)
    return page(
        request,
        "datasets/new.html",
        status_code=status_code,
        told=list((errors or {}).items()),
        errors=_EMPTY | dict(errors or {}),
        given=_EMPTY | dict(given or {}),
        max_bytes=ctx.settings.web.max_upload_bytes,
        unfinished=parts,
        hub_offline=ctx.settings.hub.offline,
        hosts=ctx.settings.sources.url_hosts,
    )


def origin_words(dataset: Dataset) -> str:
    """Where it comes from; empty where it was uploaded."""
    origin = dataset.origin
    if not origin:
        return ""
    if origin["kind"] == "url":
        return shown(origin["url"])
    where = [origin["repo_id"], *(origin[name] for name in ("config", "split") if origin[name])]
    at = origin.get("commit") or origin["revision"]
    return " / ".join(where) + (f" @ {at[:12]}" if at else "")


def fetching_words(dataset: Dataset) -> str:
    """What happens before it is read."""
    where = origin_words(dataset)
    if dataset.origin["kind"] == "hub":
        return _("%(where)s is being fetched from the Hub.", where=where)
    return _("%(where)s is being fetched.", where=where)


def parts_to_choose(dataset: Dataset) -> list[dict[str, Any]]:
    """Options of the `choices` macro."""
    return [
        {
            "value": number,
            "label": f"{part['config']} / {part['split']}",
            "help": " · ".join(
                [
                    translate_many("%(all)s file", "%(all)s files", part["files"], all=filters.number(part["files"])),
                    filters.filesize(part["size"]),
                ]
            ),
        }
        for number, part in enumerate(dataset.stats.get("choices", []))
    ]
