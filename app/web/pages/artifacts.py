"""Files to take away: single files as they lie, folders as a ZIP written while it is sent."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import FileResponse, Response, StreamingResponse

from app.domain.errors import NotFoundError
from app.domain.exports.service import file_stem, get_artifact
from app.domain.jobs import service as jobs
from app.web.deps import ContextDep, Id
from app.web.zipping import zip_stream

router = APIRouter(prefix="/artifacts")


@router.get("/{artifact_id}/download")
def download(ctx: ContextDep, artifact_id: Id) -> Response:
    """The artifact as an attachment. Fetching it may take long, so no transaction stays open."""
    with ctx.db.session() as session:
        artifact = get_artifact(session, artifact_id)
        name = jobs.get_job(session, artifact.job_id).name
    path = ctx.storage.ensure(artifact.storage_key)
    if path.is_file():
        return FileResponse(path, filename=path.name, media_type="application/octet-stream")
    if not path.is_dir():
        raise NotFoundError("This file is gone from the disk. Export it again.")
    stem = "-".join(filter(None, (file_stem(name), artifact.kind, artifact.quant)))
    headers = {"content-disposition": f'attachment; filename="{stem}.zip"'}
    return StreamingResponse(zip_stream(path, stem), media_type="application/zip", headers=headers)
