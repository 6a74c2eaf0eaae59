"""Static files, cached for ever under an address that carries their digest; pages and files compressed."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs

from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

_AS_IS = ("/events", "/download", "/original", "/rows.jsonl")
FOR_EVER = "public, max-age=31536000, immutable"


class Static(StaticFiles):
    """Files below static/."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file; kept by browsers when it was asked for by its digest."""
        response = await super().get_response(path, scope)
        kept = "v" in parse_qs(scope["query_string"].decode("latin-1"))
        response.headers["cache-control"] = FOR_EVER if kept else "no-cache"
        return response


class Compress:
    """Gzip for pages and static files; streams and downloads pass as they are."""

    def __init__(self, app: ASGIApp) -> None:
        self._plain = app
        self._zipped = GZipMiddleware(app, minimum_size=600, compresslevel=5)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        as_is = path.endswith(_AS_IS) or path == "/changed"
        await (self._plain if as_is else self._zipped)(scope, receive, send)
