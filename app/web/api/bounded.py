"""Routes whose JSON is read strictly, and no more of it than a form may hold."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from app.web.bodies import StrictRequest


class BoundedRoute(APIRoute):
    """Raises 413 for more than a megabyte."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own, on a request that reads strictly."""
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return bounded
