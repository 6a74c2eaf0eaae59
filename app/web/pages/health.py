"""Is it up, and can it work? For supervisors and load balancers."""

from __future__ import annotations

import redis
import sqlalchemy as sa
from fastapi import APIRouter
from starlette.responses import JSONResponse

from app.core.context import Context
from app.core.schema import is_current
from app.web.deps import ContextDep

router = APIRouter()


@router.get("/healthz")
async def healthz() -> JSONResponse:
    """200 as soon as the process answers."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
def readyz(ctx: ContextDep) -> JSONResponse:
    """200 when the database and the broker answer and the schema is this code's, else 503 and what is not so."""
    parts = {**_database(ctx), "broker": _broker(ctx)}
    return JSONResponse(parts, 200 if set(parts.values()) == {"ok"} else 503)


def _database(ctx: Context) -> dict[str, str]:
    try:
        current = is_current(ctx.db)
    except sa.exc.SQLAlchemyError:
        return {"database": "unreachable", "schema": "unknown"}
    return {"database": "ok", "schema": "ok" if current else "not the one of this version"}


def _broker(ctx: Context) -> str:
    try:
        with redis.Redis.from_url(ctx.settings.redis, socket_timeout=1, socket_connect_timeout=1) as client:
            client.ping()
    except redis.RedisError:
        return "unreachable"
    return "ok"
